"""The presets: one table of everything that makes a model, from one that a laptop trains to one of Sora's size."""

from dataclasses import dataclass, replace

from minisora.core.errors import MinisoraError, check_choice
from minisora.core.recipe import Recipe
from minisora.core.runtime import blank
from minisora.data.clip import size_name
from minisora.models.dit import DiT, DiTConfig
from minisora.models.text import TextConfig, TextEncoder
from minisora.models.vae import VAE, VAEConfig


@dataclass(frozen=True)
class Sampling:
    """How to generate, unless asked otherwise."""

    steps: int = 30
    guidance: float = 4.0
    """How far to go beyond what the prompt says, away from the negative prompt."""
    shift: float = 1.0
    """Above 1, more of the steps are spent where there is much noise: large videos need it."""
    negative: str = ""
    """The negative prompt."""
    sampler: str = "euler"
    """The way from noise to clip, by its name in diffusion/samplers.py."""
    eta: float = 1.0
    """How much of the noise `sde` exchanges in a step: 1 is as much as the path added, and 0 makes it `euler`."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The times between which there is guidance: where little noise is left, it only makes colors stronger."""


@dataclass(frozen=True)
class Weights:
    """Where the open weights of a preset are published."""

    hub: str
    """The repository on the Hugging Face Hub, all in safetensors, with diffusers' names."""
    official: str
    """The repository with the official names, in which VAE and text encoder are .pth files."""
    licence: str = "Apache-2.0"
    note: str = "exact on random weights, real ones untested"


@dataclass(frozen=True)
class Late:
    """A second transformer, for the steps with little noise."""

    dit: DiTConfig
    below: float = 0.9
    """The time at which it takes over."""


@dataclass(frozen=True)
class Preset:
    """Three models that fit each other, the size of video that they are for, and how to train and to sample them."""

    vae: VAEConfig
    dit: DiTConfig
    text: TextConfig
    """Its vocabulary is the size of the tokenizer; how many tokens a prompt may have is `dit.text_length`."""
    size: tuple[int, int, int]
    """Frames, height and width."""
    fps: float
    sampling: Sampling
    recipes: dict[str, Recipe]
    """For each stage in its order: "vae", "text" where the text encoder is ours to train, and "dit"."""
    weights: Weights | None = None
    late: Late | None = None

    def __post_init__(self) -> None:
        common = ("channels", "patch", "text_width")
        if self.late and any(getattr(self.late.dit, name) != getattr(self.dit, name) for name in common):
            raise MinisoraError("preset: two experts have channels, the size of tokens and the width of text in common")
        if self.dit.channels != self.vae.channels:
            raise MinisoraError(f"preset: the VAE has {self.vae.channels} channels and the DiT {self.dit.channels}")
        if self.dit.text_width != self.text.width:
            raise MinisoraError(f"preset: text has width {self.text.width}, and the DiT reads {self.dit.text_width}")
        if (self.size[0] - 1) % self.vae.compression[0]:
            raise MinisoraError(f"preset: {self.size[0]} frames; the VAE takes 1 and {self.vae.compression[0]} k more")

    def check_clip(self, size: tuple[int, int, int], stage: str) -> None:
        """Refuse clips that the VAE cannot encode, or that the transformer cannot cut into whole tokens."""
        time, side, _ = self.vae.compression
        cells = [side * patch for patch in self.dit.patch[1:]] if stage == "dit" else [side, side]
        least, more = self.lengths() if stage == "dit" else (1, time)
        (frames, *sides), tall, wide = size, *cells
        if (frames - least) % more or any(length % cell for length, cell in zip(sides, cells, strict=True)):
            raise MinisoraError(
                f"nothing can be trained on clips of {size_name(size)}: take {more}k + {least} frames, heights that "
                f"are multiples of {tall} and widths that are multiples of {wide}"
            )

    def lengths(self, ring: bool = False) -> tuple[int, int]:
        """(least, more): clips of whole tokens have `least` frames, and any number of times `more` beyond."""
        time, deep = self.vae.compression[0], self.dit.patch[0]
        return time * deep if ring else time * (deep - 1) + 1, time * deep  # frame 0 stands alone, but in a ring

    @property
    def grid(self) -> tuple[int, int, int]:
        """How many tokens a video of this size has along time, height and width, rounded up to whole ones."""
        (frames, height, width), (time, side, _), patch = self.size, self.vae.compression, self.dit.patch
        latents = 1 + (frames - 1) // time, height / side, width / side
        t, h, w = (int(-(-latent // cut)) for latent, cut in zip(latents, patch, strict=True))
        return t, h, w


# Means and standard deviations of the latents of the two open VAEs, measured by their authors.
WAN21_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
WAN22_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip

WAN21_VAE = VAEConfig(mean=WAN21_MEAN, std=WAN21_STD)
WAN22_VAE = VAEConfig(
    channels=48, base=160, decoder_base=256, patch=2, shortcuts=True, mean=WAN22_MEAN, std=WAN22_STD
)  # fmt: skip
UMT5_XXL = TextConfig(vocabulary=256384, width=4096, heads=64, head_width=64, mlp=10240, layers=24)
NEGATIVE = "blurry, static, overexposed, low quality, watermark, subtitles, deformed hands and faces, clutter"
FINETUNING = {
    "vae": Recipe(steps=10_000, batch=16, rate=1e-5, warmup=500, ema=0.9999),
    "dit": Recipe(steps=10_000, batch=64, rate=1e-5, warmup=500, ema=0.9999),
}

PRESETS: dict[str, Preset] = {
    "tiny": Preset(  # trained live in the notebooks
        vae=VAEConfig(
            channels=32,
            base=16,
            stages=(1, 1, 1),
            space=(False, False),
            time=(True, True),
            blocks=1,
            patch=4,
            shortcuts=True,
            components=True,
            level=False,
        ),
        dit=DiTConfig(
            channels=32,
            patch=(3, 1, 1),  # all 9 frames of a place: how things move is within a token
            width=128,
            heads=4,
            layers=4,
            mlp=384,
            text_width=64,
            text_length=128,
            padded=False,
            places=True,
            pooled=True,
            clean=True,
        ),
        text=TextConfig(vocabulary=512, width=64, heads=4, head_width=16, mlp=160, layers=2),
        size=(9, 32, 32),
        fps=8.0,
        sampling=Sampling(steps=20, guidance=1.5, shift=2.0, sampler="sde"),
        recipes={
            "vae": Recipe(steps=600, batch=16, rate=2e-3, matrix_rate=0.02, decay=0.5, ema=0.99),
            "text": Recipe(steps=400, batch=64, rate=2e-3, matrix_rate=0.02, decay=0.5, ema=0.98, weight_decay=0.1),
            "dit": Recipe(steps=4000, batch=96, rate=3e-3, matrix_rate=0.03, decay=0.5, ema=0.995, weight_decay=0.1),
        },
    ),
    "toy": Preset(  # its checkpoint is bundled
        vae=VAEConfig(
            channels=32,
            base=48,
            stages=(1, 2, 2),
            space=(True, False),
            time=(True, True),
            blocks=1,
            patch=4,
            shortcuts=True,
            components=True,
        ),
        dit=DiTConfig(
            channels=32,
            patch=(1, 1, 1),
            width=256,
            heads=8,
            layers=8,
            mlp=768,
            text_width=128,
            text_length=128,
            theta=10.0,
            padded=False,
            places=True,
            pooled=True,
        ),
        text=TextConfig(vocabulary=1024),
        size=(17, 64, 64),
        fps=8.0,
        sampling=Sampling(steps=20, guidance=2.0, shift=8.0, sampler="sde", eta=1.5, interval=(0.4, 1.0)),
        recipes={
            "vae": Recipe(steps=8000, batch=8, rate=2e-3, matrix_rate=0.02, warmup=100, decay=0.5, ema=0.995),
            "text": Recipe(steps=1200, batch=64, rate=2e-3, matrix_rate=0.02, decay=0.5, ema=0.98, weight_decay=0.1),
            "dit": Recipe(steps=30_000, batch=32, rate=2e-3, matrix_rate=0.02, decay=0.5, weight_decay=0.1),
        },
    ),
    "small": Preset(  # one GPU, hours
        vae=VAEConfig(channels=16, base=96, stages=(1, 2, 2), time=(True, True), patch=2, shortcuts=True),
        dit=DiTConfig(width=512, heads=8, layers=12, mlp=2048, text_width=256, text_length=256),
        text=TextConfig(vocabulary=4096, width=256, heads=4, head_width=64, mlp=640, layers=4),
        size=(33, 128, 128),
        fps=8.0,
        sampling=Sampling(steps=50),
        recipes={
            "vae": Recipe(steps=50_000, batch=16, rate=5e-4, warmup=500),
            "text": Recipe(steps=5000, batch=64, rate=2e-3, matrix_rate=0.02, decay=0.5, weight_decay=0.1),
            "dit": Recipe(steps=100_000, batch=256, rate=1e-3, matrix_rate=0.01, warmup=1000, ema=0.9999),
        },
    ),
    "wan2.1-t2v-1.3b": Preset(
        vae=WAN21_VAE,
        dit=DiTConfig(width=1536, heads=12, layers=30, mlp=8960, text_width=4096),
        text=UMT5_XXL,
        size=(81, 480, 832),
        fps=16.0,
        sampling=Sampling(steps=50, guidance=5.0, shift=3.0, negative=NEGATIVE, sampler="unipc"),
        recipes=FINETUNING,
        weights=Weights("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B"),
    ),
    "wan2.1-t2v-14b": Preset(
        vae=WAN21_VAE,
        dit=DiTConfig(width=5120, heads=40, layers=40, mlp=13824, text_width=4096),
        text=UMT5_XXL,
        size=(81, 720, 1280),
        fps=16.0,
        sampling=Sampling(steps=50, guidance=5.0, shift=5.0, negative=NEGATIVE, sampler="unipc"),
        recipes=FINETUNING,
        weights=Weights("Wan-AI/Wan2.1-T2V-14B-Diffusers", "Wan-AI/Wan2.1-T2V-14B"),
    ),
    "wan2.2-ti2v-5b": Preset(
        vae=WAN22_VAE,
        dit=DiTConfig(channels=48, width=3072, heads=24, layers=30, mlp=14336, text_width=4096),
        text=UMT5_XXL,
        size=(121, 704, 1280),
        fps=24.0,
        sampling=Sampling(steps=50, guidance=5.0, shift=5.0, negative=NEGATIVE, sampler="unipc"),
        recipes=FINETUNING,
        weights=Weights("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "Wan-AI/Wan2.2-TI2V-5B"),
    ),
    "sora-1080p": Preset(  # one minute on paper, for the planner: our guess, a model that nobody has measured
        vae=replace(WAN22_VAE, mean=(), std=()),
        dit=DiTConfig(channels=48, width=6144, heads=48, layers=48, mlp=16384, text_width=4096, recompute=True),
        text=UMT5_XXL,
        size=(1441, 1080, 1920),
        fps=24.0,
        sampling=Sampling(steps=50, guidance=5.0, shift=9.0, negative=NEGATIVE, sampler="unipc"),
        recipes={
            "vae": Recipe(steps=300_000, batch=256, rate=1e-4, warmup=5000, ema=0.9999),
            "dit": Recipe(steps=500_000, batch=1024, rate=1e-4, warmup=5000, ema=0.9999),
        },
    ),
}


def preset(name: str) -> Preset:
    return PRESETS[check_choice("preset", name, PRESETS)]


def parameters(preset: Preset) -> dict[str, int]:
    """How many parameters each model has, counted without making any."""
    with blank():
        models = {"vae": VAE(preset.vae), "dit": DiT(preset.dit), "text": TextEncoder(preset.text)}
        if preset.late:
            models["late-dit"] = DiT(preset.late.dit)
    return {part: sum(weight.numel() for weight in model.parameters()) for part, model in models.items()}
