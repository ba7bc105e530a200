"""What a comparison says at its end: differences paired by seed, each with a confidence interval.

A pair is two students of the same seed, so what the seed does to both is not in their difference. The
interval is that of Student's t distribution over the pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

_LEVEL = 0.95  # of the interval
_NO_CONTROL = ("full",)  # an upper bound, not another way to choose as many images
_SETTING = ("ipc", "budget", "student", "detector", "labels", "augmented")  # columns that make one
Scores = Mapping[Any, float]
"""Score (a fraction, more is better) by seed, or by the seeds of dataset and training."""


class Difference(NamedTuple):
    """How far one method is ahead of another, as a fraction; negative where it is behind."""

    control: str
    mean: float
    margin: float | None
    """Half the width of the interval around the mean; None for a single pair."""
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.margin is not None and abs(self.mean) > self.margin

    def points(self, signed: bool = False) -> str:
        """Percentage points with their margin, e.g. 3.1 +- 0.6."""
        value = f"{100 * self.mean:+.1f}" if signed else f"{abs(100 * self.mean):.1f}"
        return value if self.margin is None else f"{value} +- {100 * self.margin:.1f}"

    def place(self) -> str:
        """Where the method stands, e.g. "3.1 points ahead of random"."""
        if not round(100 * self.mean, 1):
            return f"level with {self.control}"
        return f"{self.points()} points {'ahead of' if self.mean > 0 else 'behind'} {self.control}"


class Verdict(NamedTuple):
    """How one method stands against the others in one setting."""

    setting: str
    method: str
    differences: tuple[Difference, ...]
    """Best control first."""
    seconds: Mapping[str, float]
    """To extract and distil, by method, where it is known."""

    def __str__(self) -> str:
        """One or two sentences."""
        seeds = max(one.seeds for one in self.differences)
        shown = [one for one in self.differences if one.decided or seeds == 1]
        noise = [one for one in self.differences if one not in shown]
        parts = [one.place() for one in shown]
        if noise:
            named = [f"{one.control} ({one.points(signed=True)})" for one in noise]
            parts.append(f"within noise of {' and '.join(named)}")
        count = f"{seeds} seeds" if seeds > 1 else "one seed, so noise is unknown"
        text = f"{self.setting}: " if self.setting else ""
        text += f"{self.method} is {', '.join(parts)} ({count})."
        as_good = [one for one in self.differences if not (one.decided and one.mean > 0)]
        return f"{text} {self._cheaper(as_good[0])}" if as_good and seeds > 1 else text

    def _cheaper(self, one: Difference) -> str:
        """What to take where a control is as good or better."""
        state = "is better" if one.decided else "is as good"
        ours, theirs = self.seconds.get(self.method), self.seconds.get(one.control)
        if ours is None or theirs is None:
            return f"{one.control} {state}."
        cost = f"{min(ours, theirs):.3g} s to extract and distil instead of {max(ours, theirs):.3g} s."
        if theirs <= ours:
            return f"{one.control} {state} and cheaper: {cost}"
        return f"{one.control} {state}; {self.method} is cheaper: {cost}"


def paired_difference(control: str, ours: Scores, theirs: Scores) -> Difference | None:
    """The mean of the differences over the seeds that both have, and its interval; None without such a seed.

    >>> paired_difference("random", {0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.5}).seeds
    2
    """
    pairs = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        return None
    margin = None
    if len(pairs) > 1:
        from scipy.stats import t

        quantile = float(t.ppf((1 + _LEVEL) / 2, len(pairs) - 1))
        margin = quantile * stdev(pairs) / math.sqrt(len(pairs))
    return Difference(control, mean(pairs), margin, len(pairs))


def judge(
    setting: str, method: str, scores: Mapping[str, Scores], seconds: Mapping[str, float]
) -> Verdict | None:
    """The verdict on a method among `scores` by method; None where there is nothing to compare it with."""
    controls = [name for name in scores if name != method and name not in _NO_CONTROL]
    found = [paired_difference(name, scores[method], scores[name]) for name in controls]
    ordered = sorted((one for one in found if one is not None), key=lambda one: one.mean)
    return Verdict(setting, method, tuple(ordered), seconds) if ordered else None


def subject(methods: Iterable[str]) -> str | None:
    """The method that a verdict is about: focus, or else the first that is neither random nor full."""
    names = [name for name in methods if name not in ("random", *_NO_CONTROL)]
    return "focus" if "focus" in names else names[0] if names else None


def verdicts(rows: Iterable[Mapping[str, Any]], score: str = "top1") -> list[Verdict]:
    """The verdicts of a table of results, one for each setting that its methods were compared in.

    Args:
        rows: of `results.csv`, or of the table that `compare` returns (`to_pylist`).
        score: column that is compared.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _SETTING if name in row), []).append(row)
    found = []
    for values, members in groups.items():
        scores: dict[str, dict[int, float]] = {}
        spent: dict[str, list[float]] = {}
        for row in members:
            scores.setdefault(row["method"], {})[row["seed"]] = row[score]
            if row.get("seconds_distil") is not None:
                total = row["seconds_distil"] + (row.get("seconds_extract") or 0.0)
                spent.setdefault(row["method"], []).append(total)
        seconds = {name: mean(own) for name, own in spent.items()}
        method = subject(scores)
        if method is not None and (verdict := judge(_words(values), method, scores, seconds)):
            found.append(verdict)
    return found


def _words(values: Sequence[Any]) -> str:
    """The setting in words, e.g. "ipc 10, resnet18, soft"."""
    words = []
    for value in values:
        if isinstance(value, bool):
            words += [] if value else ["not augmented"]
        elif value:
            words.append(f"ipc {value}" if isinstance(value, int) else str(value))
    return ", ".join(words)
