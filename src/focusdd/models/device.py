"""The device that models run on, and the precision that they compute in there."""

from __future__ import annotations

import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from focusdd.core.errors import FocusError


def pick_device(device: str) -> torch.device:
    """ "auto" is a GPU where there is one. Raises FocusError when there is no such device, or not here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FocusError("device cuda was asked for, but this machine has none: use --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise FocusError("device mps was asked for, but this machine has none: use --device cpu")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise FocusError(f"torch knows no device {device!r}: use auto, cpu, cuda or mps") from error


def device_name(device: torch.device) -> str:
    """For `run.json`: the GPU's own name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_device_memory_mb(device: torch.device) -> int | None:
    """Most memory of a GPU held by tensors since this was asked last; None on other devices."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return round(peak / 2**20)


def keep_freed_memory(device: torch.device) -> bool:
    """Keeps the memory that tensors on a CPU free for those of the next step, where the C library is glibc.

    Otherwise the kernel clears the pages of every tensor above 32 MB anew (`benchmarks/malloc.py`: 8 % of a
    training step of ResNet-18 with 64 images of 128 px).

    Returns:
        Whether it does; the setting holds until the process ends.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    return all(mallopt(name, 2**31 - 1) == 1 for name in (mmap, trim))


def autocast(device: torch.device, cached: bool = True) -> AbstractContextManager[Any]:
    """bfloat16 where the hardware computes it faster; on most CPUs this does nothing.

    Nor on GPUs without bfloat16 units (T4, V100), which would emulate it: float16 overflows in some networks,
    and training in it needs a gradient scaler.

    Args:
        cached: a weight that is used twice is cast once.
    """
    if device.type == "cuda" and _has_bfloat16(device):
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=cached)
    if device.type == "cpu" and _bfloat16_pays():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _has_bfloat16(gpu: torch.device) -> bool:
    """Whether a GPU has units for bfloat16: AMD's, and NVIDIA's since Ampere."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(gpu) >= (8, 0)


def _bfloat16_pays() -> bool:
    """Whether this CPU computes in bfloat16 faster than in float32 (`benchmarks/precision.py` measures it).

    Without AVX-512, PyTorch runs its convolutions without oneDNN, ten times slower than float32; with it but
    without bfloat16 instructions, oneDNN emulates them; and Intel's take two turns each, so that there AMX
    alone pays.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # older versions of PyTorch do not say
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") != "x86_64":
        return True
    return known["amx_bf16"] or (known["avx512_bf16"] and not known["cpu_name"].startswith("Intel"))


def cast_weights(net: nn.Module, device: torch.device) -> None:
    """Casts the weights that `autocast` would cast in every forward pass, for inference under it alone.

    The results are the same bits: it is what autocast does, once.
    """
    with autocast(device):
        if not torch.is_autocast_enabled(device.type):
            return
        dtype = torch.get_autocast_dtype(device.type)
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.to(dtype)
