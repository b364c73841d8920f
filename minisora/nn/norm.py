"""Root-mean-square norm: every token divided by its own length, so that no query or key outshouts the others."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, over the last axis; the length is taken in fp32."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return _Normalise.apply(x, self.weight, self.eps)


class _Normalise(torch.autograd.Function):
    """Written out by hand, since torch's own keeps five copies of x for the gradient and this keeps one.

    With r = 1 / sqrt(mean(x²) + eps) and y = r x w:  dw = Σ r x dy,  dx = r (w dy - x r² mean(x w dy)).
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        r = torch.rsqrt(torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.shape[-1] + eps)
        ctx.save_for_backward(x, weight, r)
        return torch.mul(wide, r, out=None if wide is x else wide).mul_(weight).to(x.dtype)  # a copy is written over

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, weight, r = ctx.saved_tensors
        wide, dy = x.to(r.dtype), dy.to(r.dtype)  # sums of bf16 numbers are taken in fp32
        dw = (wide * r).mul_(dy).sum(tuple(range(x.dim() - 1)))
        dx = dy * weight
        slope = torch.linalg.vecdot(dx, wide)[..., None] * r**3 / x.shape[-1]
        return (dx * r).addcmul_(wide, slope, value=-1).to(x.dtype), dw.to(weight.dtype), None
