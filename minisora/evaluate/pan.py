"""How far a camera has turned to the side, read from pixels: each frame is laid over the one before at every shift."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.evaluate.blobs import VIVID, vividness

ROWS = 24  # a sideways turn shows in every row, so a few averaged ones will do
FARTHEST = 0.45  # of the picture's width, between two frames


def follow_camera(frames: Tensor) -> Tensor:
    """(t,) float64: the camera's turn to the right since the first frame, in pixels.

    With I and I' two frames, and m and m' masks without the vivid things, which may move by themselves, the squared
    difference at a shift d is Σ m' m(·+d) (I' − I(·+d))²: three correlations, all shifts at once by Fourier transforms.
    """
    height, width = frames.shape[1:3]
    tall, most = max(1, height // ROWS), int(FARTHEST * width)
    if len(frames) < 2 or most < 1:
        return torch.zeros(len(frames), dtype=torch.float64)
    vivid = (vividness(frames) > VIVID).float()[:, None]
    mask = 1 - F.max_pool2d(vivid, (tall, 5), (tall, 1), (0, 2))[:, 0]
    gray = F.avg_pool2d(frames.float().mean(-1)[:, None], (tall, 1))[:, 0]
    gray = (gray - gray.mean()) * mask
    spectra = [torch.fft.rfft(part, n=2 * width) for part in (mask, gray, gray**2)]
    (m0, i0, s0), (m1, i1, s1) = ([part[:-1] for part in spectra], [part[1:].conj() for part in spectra])
    overlap = torch.fft.irfft((m1 * m0).sum(1), n=2 * width)
    square = torch.fft.irfft((s1 * m0 + m1 * s0 - 2 * i1 * i0).sum(1), n=2 * width)
    shifts = torch.arange(-most, most + 1)
    error = (square / overlap.clamp_min(1))[:, shifts]  # (t - 1, shifts)
    doubt = 0.02 * gray.var()  # where rows of landmarks fit twice, the camera turned less far
    best = ((error + doubt) * (1 + shifts.abs() / most)).argmin(1).clamp(1, 2 * most - 1)[:, None]
    low, middle, high = (error.gather(1, best + step).squeeze(1) for step in (-1, 0, 1))
    bend = (low - 2 * middle + high).clamp_min(1e-6)  # a parabola through three shifts has its foot between them
    steps = best.squeeze(1) - most + ((low - high) / (2 * bend)).clamp(-0.5, 0.5)
    return F.pad(steps.double().cumsum(0), (1, 0))
