"""Logits in few bytes.

A softmax does not care for a constant, so the logits of a label are stored as heights above its floor: one
half-precision scale (the largest height) and for each of the `top` largest an integer level of 0 to
2^bits - 1. Every other class is at the floor itself. Where there are more classes than `top`, the floor is
the value that, given to all the others, keeps their joint probability at the temperature of training: at 20
the thousand small logits hold nearly all of it, and an arbitrary floor would teach the student nonsense.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp


def record_type(num_classes: int, top: int, bits: int) -> np.dtype:
    """The type of one label: scale, levels and, where not all classes are kept, which they are."""
    kept = min(top, num_classes)
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("scale", "<f2")]
    if bits == 4:
        fields.append(("levels", "u1", ((kept + 1) // 2,)))
    else:
        fields.append(("levels", "u1" if bits == 8 else "<u2", (kept,)))
    if kept < num_classes:
        fields.append(("classes", "<u2" if num_classes <= 2**16 else "<u4", (kept,)))
    return np.dtype(fields)


def pack(logits: np.ndarray, top: int, bits: int, temperature: float) -> np.ndarray:
    """Logits (..., C) -> records (...) of `record_type`, the largest first where not all are kept.

    A kept logit is off by at most half a level, scale / (2^bits - 1) / 2.
    """
    num_classes = logits.shape[-1]
    records = np.zeros(logits.shape[:-1], record_type(num_classes, top, bits))
    logits = logits.astype(np.float64)
    if top < num_classes:
        order = np.argsort(-logits, axis=-1, kind="stable")
        records["classes"] = order[..., :top]
        rest = np.take_along_axis(logits, order[..., top:], -1) / temperature
        floor = temperature * (logsumexp(rest, axis=-1) - np.log(num_classes - top))
        logits = np.take_along_axis(logits, order[..., :top], -1)
    else:
        floor = logits.min(-1)
    heights = logits - floor[..., None]
    largest = heights.max(-1)
    scale = largest.astype(np.float16)
    records["scale"] = np.where(scale < largest, np.nextafter(scale, np.float16(np.inf)), scale)
    unit = records["scale"].astype(np.float64) / (2**bits - 1)
    levels = np.rint(heights / np.where(unit > 0, unit, 1)[..., None])
    records["levels"] = _pairs(levels.astype(np.uint8)) if bits == 4 else levels
    return records


def unpack(records: np.ndarray, num_classes: int, top: int, bits: int) -> np.ndarray:
    """Records (...) -> float32 logits (..., C), up to a constant: the floor is 0."""
    levels = records["levels"]
    if bits == 4:
        levels = np.stack([levels & 15, levels >> 4], axis=-1).reshape(*levels.shape[:-1], -1)
        levels = levels[..., : min(top, num_classes)]
    heights = levels * (records["scale"].astype(np.float32) / np.float32(2**bits - 1))[..., None]
    if top >= num_classes:
        return heights
    logits = np.zeros((*records.shape, num_classes), np.float32)
    np.put_along_axis(logits, records["classes"].astype(np.int64), heights, -1)
    return logits


def stored_classes(records: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that records store, and their values among the unpacked logits (..., C)."""
    if "classes" not in (records.dtype.names or ()):
        return np.broadcast_to(np.arange(logits.shape[-1]), logits.shape), logits
    classes = records["classes"].astype(np.int64)
    return classes, np.take_along_axis(logits, classes, -1)


def _pairs(levels: np.ndarray) -> np.ndarray:
    """Two levels of 4 bits in a byte, the first in the lower half."""
    if levels.shape[-1] % 2:
        levels = np.concatenate([levels, np.zeros_like(levels[..., :1])], axis=-1)
    return levels[..., 0::2] | levels[..., 1::2] << 4
