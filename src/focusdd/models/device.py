"""The device that models run on."""

from __future__ import annotations

import torch

from focusdd.core.errors import FocusError


def pick_device(device: str) -> torch.device:
    """ "auto" is a GPU where there is one. Raises FocusError when the device asked for is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FocusError("device cuda was asked for, but this machine has none: use --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise FocusError("device mps was asked for, but this machine has none: use --device cpu")
    return torch.device(device)


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
