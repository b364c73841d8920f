"""Figures for notebooks that also speak to those who cannot see them."""

import html
import io
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageStat

from minisora.core.errors import MinisoraError
from minisora.viz.player import data_url

UNSEEN = 3.0
"""Gray levels, the root of the mean squared error of a color: 39 dB."""


@dataclass(frozen=True)
class Picture:
    """A figure as a picture with alt text, when it is the last line of a notebook's cell."""

    png: bytes
    alt: str

    def _repr_html_(self) -> str:
        alt = html.escape(self.alt, quote=True)
        return f'<img alt="{alt}" style="max-width:100%" src="{data_url(self.png, "image/png")}">'

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return self.alt


def picture(figure: Figure, alt: str) -> Picture:
    """Draw a figure, close it, and say in words what it shows."""
    import matplotlib.pyplot as plt

    if not alt.strip():
        raise MinisoraError("a picture needs alt text: say in a sentence what one should see")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return Picture(packed(buffer.getvalue()), alt.strip())


def packed(png: bytes) -> bytes:
    """A PNG with a palette of 256 colors, a third as large, where nobody sees the difference: notebooks keep many."""
    full = Image.open(io.BytesIO(png)).convert("RGB")
    palette = full.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    apart = ImageStat.Stat(ImageChops.difference(full, palette.convert("RGB")))
    buffer = io.BytesIO()
    (palette if max(apart.rms) < UNSEEN else full).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
