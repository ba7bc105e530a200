"""What a command has understood, said before it begins: sources, models and what will be written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from focusdd.core.console import say, warn
from focusdd.core.spelling import number_of
from focusdd.sources.classes import require_same_classes
from focusdd.sources.identity import require_other
from focusdd.sources.names import few

_KINDS = 4  # of skipped files that are told apart
_said: set[tuple[str, ...]] = set()


def understood(source: Any, role: str = "source") -> None:
    """Says what a source holds, once in a process. Its role is "source" or "val", or another of this kind."""
    if (known := (role, source.name, source.split, source.fingerprint)) in _said:
        return
    _said.add(known)
    place = getattr(source, "place", source.name)
    fact(role, source.name + (f": {place}" if place != source.name else ""))
    fact("", f"{number_of(len(source.records), 'image')}, {_classes(source)}")
    if objects := getattr(source, "object_facts", ""):
        fact("", objects)
    lost = [(name, reason) for name, reason in source.skipped if not reason.startswith("not an image")]
    other = [reason.rpartition(" ")[2] for _, reason in source.skipped if reason.startswith("not an image")]
    if other:
        fact("", f"other files: {_counted(other)}")
    if lost:
        warn(f"left out of {source.name}: {in_kinds(lost)}")
    if problems := getattr(source, "problems", ()):
        warn(f"mended in {source.name}: {in_kinds(problems)}")


def understood_validation(
    val: Any, learnt: Any, source: tuple[str, str] | None = None, role: str = "val"
) -> None:
    """Says what validation images hold.

    Args:
        learnt: the source or the distilled dataset that is learnt from.
        source: fingerprint and name of the source of its images; default: its own.

    Raises:
        FocusError: they have other classes, or are the images that are learnt from.
    """
    understood(val, role)
    name = f"the validation images of {val.name}"
    require_same_classes(name, val.classes, learnt.name, learnt.classes)
    require_other(val, *(source or (learnt.fingerprint, learnt.name)))


def fact(label: str, text: str) -> None:
    """One line of the block."""
    say(f"{label:<10} {text}")


def model_fact(role: str, model: Any) -> None:
    """The line of a model."""
    classes = model.classes
    known = number_of(len(classes), "class", "classes") if classes is not None else "classes without names"
    fact(role, f"{model.name}: input {model.input_size} px, {known}")


def objects_in_words(boxes: np.ndarray, sizes: np.ndarray, ignored: np.ndarray, empty: int = 0) -> str:
    """Number and sizes of objects.

    Args:
        boxes: float (n, 4) of all objects.
        sizes: float (n, 2) width and height of their images; 1 where boxes are fractions, 0 unknown.
        ignored: bool (n,).
        empty: images without objects.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    more = [number_of(int(ignored.sum()), "more is ignored", "more are ignored")] if ignored.any() else []
    more += [f"{number_of(empty, 'image has', 'images have')} none"] if empty else []
    words = number_of(int((~ignored).sum()), "object") + (f" ({'; '.join(more)})" if more else "")
    if (sizes > 1).any():
        median = np.median(sides, 0)
        words += f", median {median[0]:.0f} x {median[1]:.0f} px"
    known = (sizes > 0).all(1)
    if known.any():
        shares = np.sort(np.sqrt((sides[known] / sizes[known]).prod(1)))
        low, middle, high = (shares[round(part * (len(shares) - 1))] for part in (0.05, 0.5, 0.95))
        words += f"; side of the object by that of the image: {low:.1%} to {high:.1%}, median {middle:.1%}"
    return words


def warn_of_skipped(skipped: Sequence[tuple[str, str]], name: str, more: str = "") -> None:
    """Says how many images of a source were skipped, as (key, reason), and what more was done with them."""
    were = number_of(len(skipped), f"image of {name} was", f"images of {name} were")
    warn(f"{were} skipped{more}, the first: {skipped[0][0]} ({skipped[0][1]})")


def _classes(source: Any) -> str:
    names: Sequence[str] = source.class_names
    words = number_of(len(names), "class", "classes")
    words += f": {', '.join(names[:5])}" + (", ..." if len(names) > 5 else "")
    labels = np.array([record.label for record in source.records])
    if labels.min(initial=0) < 0:
        return words
    counts = np.bincount(labels, minlength=len(names))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[low] == counts[high]:
        return f"{words}; {number_of(counts[low], 'image')} each"
    return f"{words}; {counts[low]:,} ({names[low]}) to {counts[high]:,} ({names[high]}) images each"


def in_kinds(notes: Sequence[tuple[str, str]]) -> str:
    """Notes of (where, what) for a sentence: counted by what, whichever object of an image it is."""
    kinds = _counted([re.sub(r"^object \d+", "an object", what) for _, what in notes])
    return f"{kinds}; the first: {notes[0][0]}"


def _counted(reasons: Sequence[str]) -> str:
    kinds = Counter(reasons).most_common()
    return few([f"{count:,} x {kind.strip(chr(39))}" for kind, count in kinds], _KINDS)
