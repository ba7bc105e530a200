"""Processes decode as the thread that asks them would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import pytest

from focusdd.core.decoders import Fit, View, decoders, most, view_of

Draw, Encoded = Callable[..., object], Callable[..., bytes]
pytestmark = pytest.mark.skipif(not most(), reason="processes share memory on Linux alone")


@pytest.fixture
def files(draw: Draw, encoded: Encoded) -> list[bytes]:
    """Of every kind: turned by EXIF, CMYK, transparent, cut short, empty and none at all."""
    turned = encoded(
        draw(60, 40), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    )
    plain = encoded(draw(500, 375), "JPEG")
    cmyk, clear = (draw(40, 30).convert(mode) for mode in ("CMYK", "RGBA"))  # type: ignore[attr-defined]
    return [turned, plain, encoded(cmyk, "JPEG"), encoded(clear), plain[:900], b"", b"no image"]


def same(mine: Sequence[View], theirs: Sequence[View]) -> bool:
    return all(
        one[1:] == other[1:]
        and (one.pixels is None) == (other.pixels is None)
        and (one.pixels is None or np.array_equal(one.pixels, other.pixels))
        for one, other in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_views_are_those_of_the_same_files_decoded_here(files: list[bytes], fit: Fit) -> None:
    expected = [view_of(data, 32, fit) for data in files]
    assert expected[0][1:4] == (40, 60, "") and expected[0].pixels is not None
    assert [bool(view.problem) for view in expected] == [False] * 4 + [True] * 3
    with decoders(2, 7, 32, fit) as views, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(views, [files, files[::-1], files[:1]]))
    assert same(found[0], expected) and same(found[1], expected[::-1]) and same(found[2], expected[:1])


def test_what_a_dead_process_leaves_is_decoded_here(
    files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pipe: Connection, _: object) -> None:
        raise BrokenPipeError

    with decoders(1, 7, 32, "squash") as views:
        monkeypatch.setattr(Connection, "send", gone)
        assert same(views(files), [view_of(data, 32, "squash") for data in files])
