"""DD-Ranking's scores (Li et al., arXiv 2505.13300), of accuracies as fractions, 0 to 1.

Its code feeds differences in percent into the exponentials, whose formula is meant for fractions; the scores
here are therefore not the numbers that its code prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple


def hard_label_recovery(full_hard: float, distilled_hard: float) -> float:
    """HLR = acc(full data, hard labels) - acc(distilled, hard labels): what is still missing; less is better.

    >>> round(hard_label_recovery(0.9, 0.6), 3)
    0.3
    """
    return full_hard - distilled_hard


def improvement_over_random(distilled: float, random: float) -> float:
    """IOR = acc(distilled) - acc(as many random images), both with the same labels and augmentation.

    >>> round(improvement_over_random(0.55, 0.5), 3)
    0.05
    """
    return distilled - random


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


Tops = dict[int, float]
"""Top-1 by seed."""


class Outcome(NamedTuple):
    """The top-1 of one student."""

    method: str
    ipc: int
    student: str
    labels: str
    augmented: bool
    seed: int
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
    full = {(key[2], key[3]): values for key, values in tops.items() if key[0] == "full" and key[4]}
    found = []
    for method, ipc, student in dict.fromkeys(key[:3] for key in tops):
        if method in ("random", "full"):
            continue
        of = {
            (name, labels, augmented): tops.get((name, ipc, student, labels, augmented), {})
            for name in (method, "random", "rded")
            for labels in ("hard", "soft")
            for augmented in (True, False)
        }
        hard, soft = (
            _paired(of[method, labels, True], of["random", labels, True], improvement_over_random)
            for labels in ("hard", "soft")
        )
        labels, ior = ("soft", soft) if soft else ("hard", hard)
        plain = _paired(of[method, labels, False], of["random", labels, False], improvement_over_random)
        recovery = _paired(full.get((student, "hard"), {}), of[method, "hard", True], hard_label_recovery)
        rded = {} if method == "rded" else of["rded", labels, True]
        lists = (
            recovery,
            hard,
            soft,
            _paired(recovery, ior, label_robust_score),
            _paired(ior, plain, augmentation_robust_score),
            _paired(of[method, labels, True], rded, improvement_over_random),
        )
        found.append(Scores(method, ipc, student, *(list(values.values()) for values in lists)))
    return found


def _paired(one: Tops, other: Tops, what: Callable[[float, float], float]) -> Tops:
    """`what` of the values of every seed that both have."""
    return {seed: what(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())}
