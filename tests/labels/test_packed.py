"""Logits in few bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from focusdd.labels.packed import pack, record_type, unpack


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(1, 45),
    st.sampled_from([4, 8, 16]),
    st.floats(0.01, 30),
    st.integers(0, 99),
)
def test_packed_logits_are_off_by_half_a_level_at_most(
    classes: int, top: int, bits: int, spread: float, seed: int
) -> None:
    logits = (np.random.default_rng(seed).normal(size=(3, 2, classes)) * spread + 5).astype(np.float32)
    records = pack(logits, top, bits, 20.0)
    assert records.dtype == record_type(classes, top, bits)
    back = unpack(records, classes, top, bits)
    assert back.shape == logits.shape
    half = records["scale"].astype(float)[..., None] / (2**bits - 1) / 2
    for index in np.ndindex(3, 2):
        kept = np.argsort(-logits[index], kind="stable")[:top]
        rest = np.setdiff1d(np.arange(classes), kept)
        assert (back[index][rest] == 0).all()
        shift = logits[index].min()
        if len(rest):  # the rest keeps its joint probability, in proportion, at the temperature
            shift = 20 * np.log(np.exp(logits[index][rest].astype(float) / 20).mean())
        error = np.abs(back[index][kept] - (logits[index][kept] - shift))
        assert (error <= half[index] * 1.001 + 1e-4).all()


def test_equal_logits_are_a_uniform_label() -> None:
    for top in (2, 9):
        assert (unpack(pack(np.full((1, 5), 3.0), top, 8, 20.0), 5, top, 8) == 0).all()


def test_bytes_per_label() -> None:
    """The arithmetic of docs/guides/labels.md."""
    assert record_type(1000, 32, 8).itemsize == 98
    assert record_type(1000, 16, 8).itemsize == 50
    assert record_type(1000, 16, 4).itemsize == 42
    assert record_type(10, 32, 8).itemsize == 12
    assert record_type(10, 32, 4).itemsize == 7
    full = 300 * 1000 * 2
    assert full / (5 * record_type(1000, 32, 8).itemsize) > 1000  # a 2 x 2 image has five labels
    assert full / (150 * record_type(1000, 32, 8).itemsize) > 40
    assert full / (300 * record_type(1000, 16, 8).itemsize) >= 40
