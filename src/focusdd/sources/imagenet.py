"""WordNet-id folders and ImageNet's class names, from timm's own tables."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_WNID = re.compile(r"n\d{8}")


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet-1K in the order of every published head."""
    return tuple(_table("imagenet_synsets.txt").split())


@cache
def descriptions() -> dict[str, str]:
    """First lemma of every ImageNet-21K WordNet id, e.g. n01440764 -> "tench"."""
    pairs = (line.split("\t", 1) for line in _table("imagenet_synset_to_lemma.txt").splitlines())
    return {wnid: lemmas.split(",")[0] for wnid, lemmas in pairs}


def class_name(folder: str) -> str:
    """A class folder's name for people: the lemma of a WordNet id, anything else as it is."""
    return descriptions().get(folder, folder) if _WNID.fullmatch(folder) else folder


def _table(name: str) -> str:
    # read beside timm, not through it: importing timm costs seconds
    spec = find_spec("timm")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "data" / "_info" / name).read_text()
