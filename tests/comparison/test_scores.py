"""DD-Ranking's scores on worked examples."""

import doctest
import math

import pytest

from focusdd.comparison import scores
from focusdd.comparison.scores import Outcome, augmentation_robust_score, label_robust_score, score


def test_examples_in_the_texts():
    assert doctest.testmod(scores).failed == 0
    assert doctest.testmod(scores).attempted == 2


def test_scores_are_of_fractions():
    """IOR 20 and HLR 10 points: 0.29 in fractions, far outside 0 to 1 when percent are put in."""
    assert label_robust_score(recovery=0.10, improvement=0.20) == pytest.approx(0.29076, abs=1e-5)
    assert label_robust_score(recovery=10, improvement=20) > 60


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_scores_span_zero_to_one(weight):
    assert label_robust_score(1, -1, weight) == pytest.approx(0)
    assert label_robust_score(-1, 1, weight) == pytest.approx(1)
    assert augmentation_robust_score(-1, -1, weight) == pytest.approx(0)
    assert augmentation_robust_score(1, 1, weight) == pytest.approx(1)


def test_nothing_gained_and_nothing_lost():
    neutral = (1 - math.exp(-1)) / (math.e - math.exp(-1))
    assert label_robust_score(0, 0) == augmentation_robust_score(0, 0) == pytest.approx(neutral)


TOPS = {  # method, labels, augmented: top-1 with the seeds 0 and 1
    ("full", "hard", True): (0.9, 0.92),
    ("random", "soft", True): (0.5, 0.52),
    ("random", "hard", True): (0.4, 0.4),
    ("random", "soft", False): (0.45, 0.45),
    ("rded", "soft", True): (0.55, 0.55),
    ("focus", "soft", True): (0.6, 0.6),
    ("focus", "hard", True): (0.5, 0.48),
    ("focus", "soft", False): (0.5, 0.55),
}


def outcomes(tops):
    return [
        Outcome(method, 100 if method == "full" else 10, "resnet18", labels, augmented, seed, top1)
        for (method, labels, augmented), values in tops.items()
        for seed, top1 in enumerate(values)
    ]


def test_scores_of_a_comparison_are_paired_by_seed():
    rded, focus = score(outcomes(TOPS))
    assert (rded.method, focus.method, focus.ipc) == ("rded", "focus", 10)
    assert focus.hlr == pytest.approx([0.4, 0.44])
    assert focus.ior_soft == pytest.approx([0.1, 0.08])
    assert focus.ior_hard == pytest.approx([0.1, 0.08])
    assert focus.lrs == pytest.approx([label_robust_score(0.4, 0.1), label_robust_score(0.44, 0.08)])
    assert focus.ars == pytest.approx(
        [augmentation_robust_score(0.1, 0.05), augmentation_robust_score(0.08, 0.1)]
    )
    assert focus.over_rded == pytest.approx([0.05, 0.05])
    assert rded.over_rded == rded.hlr == rded.lrs == []


def test_only_seeds_that_both_have_count():
    [focus] = score(outcomes({key: TOPS[key] for key in TOPS if key[0] in ("random", "focus")})[:-3])
    assert focus.hlr == focus.lrs == []
    assert focus.ior_hard == pytest.approx([0.1])
    assert focus.ars == []


def test_hard_labels_alone_have_scores_too():
    [focus] = score(outcomes({key: TOPS[key] for key in TOPS if key[1] == "hard"}))
    assert focus.ior_soft == []
    assert focus.lrs == pytest.approx([label_robust_score(0.4, 0.1), label_robust_score(0.44, 0.08)])
