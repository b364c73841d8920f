"""minisora: build Sora from scratch, a text-to-video diffusion transformer on spacetime patches."""

__version__ = "0.1.0"
