"""What this machine has, in words: for `minisora info`, and for the head of a report of measurements."""

import importlib.metadata
import importlib.util
import os
import platform

import torch

from minisora import __version__
from minisora.core.runtime import bf16_pays, memory_gib, pick_device

EXTRAS = {
    "dev": ("pytest", "hypothesis", "ruff", "pyright"), "book": ("jupyter_book",), "grade": ("nbgrader",),
    "parity": ("diffusers", "transformers"), "tensorboard": ("tensorboard",),
}  # fmt: skip
LIBRARIES = ("torch", "numpy", "av", "datasets", "safetensors", "jupyterlab")


def describe() -> dict[str, str]:
    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    missing = {extra: [m for m in modules if not importlib.util.find_spec(m)] for extra, modules in EXTRAS.items()}
    wanting = [f'pip install -e ".[{extra}]" for {", ".join(names)}' for extra, names in missing.items() if names]
    return {
        "minisora": f"{__version__} on Python {platform.python_version()}, {platform.system()}",
        "libraries": ", ".join(f"{library} {importlib.metadata.version(library)}" for library in LIBRARIES),
        "device": f"{device} ({name}), {torch.cuda.device_count()} CUDA devices",
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}, "
        f"{torch.get_num_threads()} used by torch",
        "precision": "bf16, which is faster here" if bf16_pays(device) else "fp32; bf16 works but brings no speed here",
        "memory": f"{memory_gib(device):.1f} GiB",
        "extras": "; ".join(wanting) or "all installed",
    }
