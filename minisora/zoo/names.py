"""Two other spellings of our parameters: the official Wan files' and the diffusers library's.

A spelling turns our names into theirs, piece by piece and in order. Where a tensor's shape differs, `fold` says how.
The diffusers names are tested against that library, the official ones of the DiT and the 2.1 VAE against its
converter. The official names of the 2.2 VAE and of the text encoder follow Wan's published code, unverified here.
"""

import re
from collections.abc import Callable, Iterable

from einops import EinopsError, rearrange
from torch import Tensor

from minisora.models.vae import VAEConfig

Shape = tuple[int, ...]
Spelling = list[tuple[str, str | Callable[[re.Match[str]], str]]]

DIT_OFFICIAL: Spelling = [
    (r"^embed\.", "patch_embedding."),
    (r"^embed_text\.", "text_embedding."),
    (r"^embed_time\.", "time_embedding."),
    (r"^modulation\.", "time_projection.1."),
    (r"^table$", "head.modulation"),
    (r"^head\.(?!modulation)", "head.head."),
    (r"\.table$", ".modulation"),
    (r"\.attend\.", ".self_attn."),
    (r"\.read\.", ".cross_attn."),
    (r"\.out\.", ".o."),
    (r"\.norm_text\.", ".norm3."),
    (r"\.mlp_in\.", ".ffn.0."),
    (r"\.mlp_out\.", ".ffn.2."),
]

DIT_DIFFUSERS: Spelling = [
    (r"^embed\.", "patch_embedding."),
    (r"^embed_text\.0", "condition_embedder.text_embedder.linear_1"),
    (r"^embed_text\.2", "condition_embedder.text_embedder.linear_2"),
    (r"^embed_time\.0", "condition_embedder.time_embedder.linear_1"),
    (r"^embed_time\.2", "condition_embedder.time_embedder.linear_2"),
    (r"^modulation\.", "condition_embedder.time_proj."),
    (r"^head\.", "proj_out."),
    (r"table$", "scale_shift_table"),
    (r"\.attend\.", ".attn1."),
    (r"\.read\.", ".attn2."),
    (r"\.(q|k|v)\.", r".to_\1."),
    (r"\.out\.", ".to_out.0."),
    (r"\.norm_text\.", ".norm2."),
    (r"\.mlp_in\.", ".ffn.net.0.proj."),
    (r"\.mlp_out\.", ".ffn.net.2."),
]

TEXT_OFFICIAL: Spelling = [
    (r"^embedding\.", "token_embedding."),
    (r"\.attention_norm\.", ".norm1."),
    (r"\.mlp_norm\.", ".norm2."),
    (r"\.attention\.bias\.", ".pos_embedding.embedding."),
    (r"\.attention\.out\.", ".attn.o."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.gate\.", ".ffn.gate.0."),
    (r"\.mlp\.up\.", ".ffn.fc1."),
    (r"\.mlp\.down\.", ".ffn.fc2."),
]

TEXT_DIFFUSERS: Spelling = [
    (r"^embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.", "encoder.block."),
    (r"\.attention_norm\.", ".layer.0.layer_norm."),
    (r"\.mlp_norm\.", ".layer.1.layer_norm."),
    (r"\.attention\.bias\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.attention\.out\.", ".layer.0.SelfAttention.o."),
    (r"\.attention\.", ".layer.0.SelfAttention."),
    (r"\.mlp\.gate\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.mlp\.up\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.mlp\.down\.", ".layer.1.DenseReluDense.wo."),
]

STEPS: Spelling = [(r"\.space\.", ".space.resample.1."), (r"\.time\.conv\.", ".time.time_conv.")]
STAGE = r"^(en|de)coder\.stages\.(\d+)\.(?:blocks\.(\d+)|space|time)"


def vae_official(config: VAEConfig) -> Spelling:
    """Blocks are numbered with the step to the next resolution as the last: through all stages in the 2.1 layout,
    stage by stage in the 2.2 one."""

    def place(match: re.Match[str]) -> str:
        coder, stage, block = match.groups()
        blocks = config.blocks + (coder == "de")
        index = int(block or blocks)
        samples = "downsamples" if coder == "en" else "upsamples"
        where = f"{stage}.{samples}.{index}" if config.shortcuts else str(int(stage) * (blocks + 1) + index)
        return f"{coder}coder.{samples}.{where}"

    return [
        *STEPS,
        (STAGE, place),
        (r"\.norm1\.weight", ".residual.0.gamma"),
        (r"\.conv1\.", ".residual.2."),
        (r"\.norm2\.weight", ".residual.3.gamma"),
        (r"\.conv2\.", ".residual.6."),
        (r"\.skip\.", ".shortcut."),
        (r"\.middle\.block1\.", ".middle.0."),
        (r"\.middle\.attention\.", ".middle.1."),
        (r"\.middle\.block2\.", ".middle.2."),
        (r"\.qkv\.", ".to_qkv."),
        (r"\.out\.", ".proj."),
        (r"\.1\.norm\.weight", ".1.norm.gamma"),
        (r"coder\.norm\.weight", "coder.head.0.gamma"),
        (r"coder\.last\.", "coder.head.2."),
        (r"coder\.first\.", "coder.conv1."),
        (r"^to_latent\.", "conv1."),
        (r"^from_latent\.", "conv2."),
    ]


def vae_diffusers(config: VAEConfig) -> Spelling:
    """Stages with blocks and a step each, as ours; but the encoder of the 2.1 layout is one list, as officially."""

    def place(match: re.Match[str]) -> str:
        coder, stage, block = match.groups()
        if coder == "en" and not config.shortcuts:
            return f"encoder.down_blocks.{int(stage) * (config.blocks + 1) + int(block or config.blocks)}"
        step = "downsampler" if coder == "en" else "upsampler" if config.shortcuts else "upsamplers.0"
        blocks = "down_blocks" if coder == "en" else "up_blocks"
        return f"{coder}coder.{blocks}.{stage}." + (f"resnets.{block}" if block else step)

    return [
        *STEPS,
        (STAGE, place),
        (r"\.skip\.", ".conv_shortcut."),
        (r"\.middle\.block1\.", ".mid_block.resnets.0."),
        (r"\.middle\.attention\.", ".mid_block.attentions.0."),
        (r"\.middle\.block2\.", ".mid_block.resnets.1."),
        (r"\.qkv\.", ".to_qkv."),
        (r"\.out\.", ".proj."),
        (r"coder\.norm\.weight", "coder.norm_out.gamma"),
        (r"\.(norm\d?)\.weight", r".\1.gamma"),
        (r"coder\.last\.", "coder.conv_out."),
        (r"coder\.first\.", "coder.conv_in."),
        (r"^to_latent\.", "quant_conv."),
        (r"^from_latent\.", "post_quant_conv."),
    ]


def spell(names: Iterable[str], spelling: Spelling) -> dict[str, str]:
    """Our names → theirs."""
    spelled = {}
    for name in names:
        other = name
        for pattern, replacement in spelling:
            other = re.sub(pattern, replacement, other)
        spelled[name] = other
    return spelled


FOLDS = {
    (3, 2): "1 rows d -> rows d",  # a table of modulation
    (4, 1): "c 1 1 1 -> c",  # the scale of a norm over video
    (3, 1): "c 1 1 -> c",  # … and over images
    (4, 2): "o i 1 1 -> o i",  # a convolution that sees a single pixel is a linear layer
    (5, 2): "o c t h w -> o (t h w c)",  # a convolution that sees each patch once is one on the patch's numbers
}
"""How a tensor of theirs becomes ours, by the numbers of their axes."""


def fold(tensor: Tensor, shape: Shape) -> Tensor | None:
    """A tensor of theirs in the shape of ours, or None if it cannot be that."""
    pattern = FOLDS.get((tensor.dim(), len(shape)))
    if pattern:
        try:
            tensor = rearrange(tensor, pattern)
        except EinopsError:  # an axis that should be 1 is not
            return None
    return tensor if tuple(tensor.shape) == shape else None
