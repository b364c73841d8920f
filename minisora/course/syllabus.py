"""What the course has to teach: every public name of these modules is built in a notebook, or excused with a reason."""

MODULES = (
    "minisora.data.clip",
    "minisora.tokens.patches",
    "minisora.tokens.packing",
    "minisora.tokens.known",
    "minisora.nn.attention",
    "minisora.nn.causal",
    "minisora.nn.modulation",
    "minisora.nn.norm",
    "minisora.nn.rope",
    "minisora.nn.shortcuts",
    "minisora.diffusion.flow",
    "minisora.diffusion.guidance",
    "minisora.diffusion.samplers",
    "minisora.diffusion.schedule",
    "minisora.diffusion.unipc",
    "minisora.models.components",
    "minisora.models.dit",
    "minisora.models.text",
    "minisora.models.tiling",
    "minisora.models.tokenizer",
    "minisora.models.vae",
    "minisora.core.recipe",
    "minisora.train.dit",
    "minisora.train.ema",
    "minisora.train.engine",
    "minisora.train.optim",
    "minisora.train.state",
    "minisora.train.text",
    "minisora.train.vae",
    "minisora.generate.direct",
)

OPTIONS = "a list of options: notebooks import it and say what they set"
DRAFT = "notebooks build a shorter one that gives the same numbers, and compare"
SPELLING = "reads or writes a name; there is no idea in it"
FULL_SIZE = "for the full-size model: notebook 14"
CARE = "guards the engine; notebook 07 says what it does"
USED = "used in notebook 03, which derives what it does"

EXCUSED = {
    "minisora.models.vae.VAEConfig": OPTIONS,
    "minisora.models.dit.DiTConfig": OPTIONS,
    "minisora.models.text.TextConfig": OPTIONS,
    "minisora.core.recipe.Run": OPTIONS,
    "minisora.nn.attention.attention": DRAFT,
    "minisora.nn.norm.RMSNorm": DRAFT,
    "minisora.data.clip.size_name": SPELLING,
    "minisora.data.clip.parse_size": SPELLING,
    "minisora.data.clip.group_by_size": SPELLING,
    "minisora.models.text.truncate": SPELLING,
    "minisora.models.tokenizer.PretrainedTokenizer": FULL_SIZE,
    "minisora.models.tokenizer.pretrained_tokenizer": FULL_SIZE,
    "minisora.models.tokenizer.clean": FULL_SIZE,
    "minisora.models.tiling.tiled": FULL_SIZE,
    "minisora.train.engine.check": CARE,
    "minisora.train.engine.refuse_to_go_on": CARE,
    "minisora.train.engine.compile_parts": CARE,
    "minisora.train.engine.compiler_errors": CARE,
    "minisora.train.vae.step": USED,
    "minisora.train.vae.reconstruct": USED,
    "minisora.train.vae.freeze_encoder": USED,
    "minisora.train.vae.crop": USED,
    "minisora.train.vae.measure_components": USED,
    "minisora.train.vae.measure_latents": USED,
}
"""Public names that no notebook builds, and why."""
