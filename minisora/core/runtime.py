"""Where the computation runs: device, precision, seeds, and which of several processes this one is."""

import ctypes
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from minisora.core.errors import MinisoraError, check_choice


def pick_device(name: str = "auto") -> torch.device:
    """'auto' is CUDA where there is one, and else the CPU; 'cuda' is each rank's own. 'cpu' and 'cuda:1' as asked.

    Apple's GPUs are left out: they know no float64, which positions and times need.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks().world > 1:
        name = f"cuda:{ranks().local}"
    kind, _, index = name.partition(":")
    check_choice("device", name if kind == "auto" else kind, ("auto", "cpu", "cuda"))
    available = {"cpu": 1, "cuda": torch.cuda.device_count()}[kind]
    if (index and not index.isdigit()) or int(index or 0) >= available:
        raise MinisoraError(f"device {name} is not here: {available} of kind {kind} found; use --device auto")
    return torch.device(name)


def bf16_pays(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32 ones: on CUDA since Ampere, on CPUs that know them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def pick_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The dtype to compute in: bf16 where it pays, fp32 elsewhere, or the one that is asked for."""
    dtypes = {"auto": torch.bfloat16 if bf16_pays(device) else torch.float32}
    dtypes |= {"bf16": torch.bfloat16, "fp32": torch.float32}
    return dtypes[check_choice("dtype", name, dtypes)]


def keep_memory() -> bool:
    """Let this process keep the memory that it frees; True where that can be asked for (glibc, so ordinary Linux).

    glibc gives large blocks back to the system at once, and the next tensor of that size waits for new pages to be
    filled with zeros. Training makes the same tensors at every step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none that can be asked
        return False
    trim_threshold, mmap_max = -1, -4
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))


@contextmanager
def blank() -> Iterator[None]:
    """Models made within have names, shapes and dtypes, but neither memory nor values: to be counted or filled."""
    with torch.device("meta"), _Uninitialized():
        yield


class _Uninitialized(TorchFunctionMode):
    """No initial values are drawn: the way to them on the meta device leads through two seconds of imports."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def seed_everything(seed: int) -> None:
    """Seed every global generator. Code of the package takes a seed or a generator instead; this is for scripts."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002, other people's code reads the legacy generator
    torch.manual_seed(seed)


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose, so that nothing else can disturb it."""
    return torch.Generator(device).manual_seed(seed)


@dataclass(frozen=True)
class Ranks:
    """This process among those that torchrun has started; alone, it is rank 0 of 1."""

    rank: int = 0
    world: int = 1
    local: int = 0  # rank on this machine: which of its GPUs to use

    @property
    def main(self) -> bool:
        return self.rank == 0


def ranks() -> Ranks:
    """Read what torchrun says. These are the only environment variables that the package looks at."""
    env = os.environ
    return Ranks(int(env.get("RANK", 0)), int(env.get("WORLD_SIZE", 1)), int(env.get("LOCAL_RANK", 0)))


def memory_gib(device: torch.device) -> float:
    """How much memory the device has, in GiB."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
