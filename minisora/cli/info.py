"""minisora info: this machine, and the presets."""


def info() -> None:
    """What this machine has: versions, device, precision, memory, and which extras are missing; and the presets."""
    from minisora.core.machine import describe
    from minisora.zoo.presets import PRESETS, parameters

    for name, value in describe().items():
        print(f"{name:<12} {value}")
    print(f"\n{'preset':<16} {'video':<15} {'tokens':>8}   millions of parameters: DiT, VAE, text")
    for name, preset in PRESETS.items():
        size, (t, h, w), counts = "x".join(map(str, preset.size)), preset.grid, parameters(preset)
        millions = "".join(f"{counts[part] / 1e6:9.1f}" for part in ("dit", "vae", "text"))
        print(f"{name:<16} {size:<15} {t * h * w:>8,}   {millions}")
