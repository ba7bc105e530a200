"""DD-Ranking's scores (Li et al., arXiv 2505.13300), of accuracies as fractions, 0 to 1.

HLR (hard label recovery) = acc(full data, hard labels) - acc(distilled, hard labels): what is still missing.
IOR (improvement over random) = acc(distilled) - acc(as many random images), labels and augmentation alike.

Its code feeds differences in percent into the exponentials, whose formula is meant for fractions; the scores
here are therefore not the numbers that its code prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from operator import sub
from typing import Any, NamedTuple


def label_robust_score(recovery: float, improvement: float, weight: float = 0.5) -> float:
    """LRS = (e^a - e^-1) / (e - e^-1) with a = w IOR - (1 - w) HLR: 0 to 1, more is better.

    >>> round(label_robust_score(recovery=0.1, improvement=0.2), 4)
    0.2908
    """
    return _unit(weight * improvement - (1 - weight) * recovery)


def augmentation_robust_score(augmented: float, plain: float, weight: float = 0.5) -> float:
    """ARS = (e^b - e^-1) / (e - e^-1) with b = w IOR(augmented) + (1 - w) IOR(without augmentation).

    >>> round(augmentation_robust_score(augmented=0.2, plain=0.1), 4)
    0.3378
    """
    return _unit(weight * augmented + (1 - weight) * plain)


def _unit(value: float) -> float:
    """[-1, 1] to [0, 1] by DD-Ranking's exponential: equal steps count more the further up they are."""
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


Tops = dict[Any, float]
"""Top-1 by seed, or by the seeds of dataset and training."""


class Outcome(NamedTuple):
    """The top-1 of one student."""

    method: str
    ipc: int
    student: str
    labels: str
    augmented: bool
    seed: Any
    top1: float


class Scores(NamedTuple):
    """What one method reaches with one student; every list has a value per seed that all its parts have."""

    method: str
    ipc: int
    student: str
    hlr: list[float]
    ior_hard: list[float]
    ior_soft: list[float]
    lrs: list[float]
    ars: list[float]
    over_rded: list[float]
    """Accuracy minus that of rded, with soft labels where there are any."""


def score(outcomes: Iterable[Outcome]) -> list[Scores]:
    """The scores of every method but random and full, in the order of the outcomes.

    LRS and ARS take the IOR with soft labels where there are any, else with hard ones.
    """
    tops: dict[tuple[str, int, str, str, bool], Tops] = {}
    for one in outcomes:
        tops.setdefault(one[:5], {})[one.seed] = one.top1
    return [
        _scores(tops, *key)
        for key in dict.fromkeys(key[:3] for key in tops)
        if key[0] not in ("random", "full")
    ]


def _scores(tops: dict[tuple[str, int, str, str, bool], Tops], method: str, ipc: int, student: str) -> Scores:
    def top(name: str, labels: str, augmented: bool = True) -> Tops:
        return tops.get((name, ipc, student, labels, augmented), {})

    full = (values for key, values in tops.items() if key[0] == "full" and key[2:] == (student, "hard", True))
    hard, soft = (_paired(top(method, kind), top("random", kind), sub) for kind in ("hard", "soft"))
    labels, ior = ("soft", soft) if soft else ("hard", hard)
    plain = _paired(top(method, labels, False), top("random", labels, False), sub)
    recovery = _paired(next(full, {}), top(method, "hard"), sub)
    lists = (
        recovery,
        hard,
        soft,
        _paired(recovery, ior, label_robust_score),
        _paired(ior, plain, augmentation_robust_score),
        _paired(top(method, labels), top("rded", labels) if method != "rded" else {}, sub),
    )
    return Scores(method, ipc, student, *(list(values.values()) for values in lists))


def _paired(one: Tops, other: Tops, what: Callable[[float, float], float]) -> Tops:
    """`what` of the values of every seed that both have."""
    return {seed: what(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}
