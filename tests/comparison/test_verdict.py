"""What a comparison says at its end: paired intervals, and words that follow from them."""

from __future__ import annotations

import doctest
import math
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from focusdd.comparison import verdict
from focusdd.comparison.verdict import judge, paired_difference, subject, verdicts

SHARE = st.floats(0, 1).map(lambda value: round(value, 4))
SCORES = st.dictionaries(st.integers(0, 9), SHARE, min_size=1)


def test_examples_in_the_texts() -> None:
    assert doctest.testmod(verdict).failed == 0


@given(SCORES, SCORES)
def test_only_seeds_that_both_have_count(ours: dict[int, float], theirs: dict[int, float]) -> None:
    found = paired_difference("x", ours, theirs)
    common = ours.keys() & theirs.keys()
    if not common:
        assert found is None
        return
    assert found is not None and found.seeds == len(common)
    assert found.mean == pytest.approx(mean(ours[seed] - theirs[seed] for seed in common))
    back = paired_difference("x", theirs, ours)
    assert back is not None and back.mean == pytest.approx(-found.mean)
    assert back.margin == pytest.approx(found.margin) and back.decided == found.decided
    assert (found.margin is None) == (len(common) == 1)


@given(st.lists(st.tuples(SHARE, SHARE), min_size=2, max_size=9))
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (dict(enumerate(values)) for values in zip(*pairs, strict=True))
    found = paired_difference("x", ours, theirs)
    assert found is not None and found.margin is not None
    if stdev(a - b for a, b in pairs) < 1e-9:
        assert found.margin == pytest.approx(0, abs=1e-6)
        return
    interval = ttest_rel(list(ours.values()), list(theirs.values())).confidence_interval()
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx(tuple(interval), abs=1e-9)


@given(SCORES, st.floats(-0.5, 0.5))
def test_noise_that_both_share_is_no_noise(scores: dict[int, float], ahead: float) -> None:
    found = paired_difference("x", {seed: value + ahead for seed, value in scores.items()}, scores)
    assert found is not None
    assert found.mean == pytest.approx(ahead, abs=1e-9)
    assert not found.margin or found.margin < 1e-9


def of(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


FIVE = {
    "focus": of(0.50, 0.52, 0.54, 0.51, 0.53),
    "view": of(0.51, 0.51, 0.55, 0.50, 0.54),
    "random": of(0.47, 0.48, 0.51, 0.48, 0.50),
    "full": of(0.9, 0.9, 0.9, 0.9, 0.9),
}


def test_words_of_a_verdict() -> None:
    found = judge("ipc 10", "focus", FIVE, {"focus": 95.0, "view": 12.0, "random": 1.0})
    assert str(found) == (
        "ipc 10: focus is 3.2 +- 0.6 points ahead of random, within noise of view (-0.2 +- 1.4) (5 seeds). "
        "view is as good and cheaper: 12 s to extract and distil instead of 95 s."
    )


def test_a_better_control_is_named() -> None:
    scores = {"focus": of(0.4, 0.42, 0.41), "rded": of(0.5, 0.52, 0.51), "random": of(0.3, 0.31, 0.32)}
    words = str(judge("", "focus", scores, {"focus": 1.0, "rded": 9.0}))
    assert "10.0 +- 0.0 points behind rded" in words
    assert words.endswith("rded is better; focus is cheaper: 1 s to extract and distil instead of 9 s.")


def test_one_seed_says_nothing_of_noise() -> None:
    words = str(judge("", "focus", {"focus": of(0.5), "random": of(0.4)}, {}))
    assert words == "focus is 10.0 points ahead of random (one seed, so noise is unknown)."


def test_equal_scores_are_level() -> None:
    words = str(judge("", "focus", {"focus": of(0.5), "random": of(0.5)}, {}))
    assert words == "focus is level with random (one seed, so noise is unknown)."


def test_the_method_in_question() -> None:
    assert subject(["random", "focus", "rded"]) == "focus"
    assert subject(["random", "rded", "full"]) == "rded"
    assert subject(["random", "full"]) is None


@given(st.permutations(range(12)))
def test_settings_are_judged_apart_and_in_any_order(order: list[int]) -> None:
    rows = [
        {"method": method, "ipc": ipc, "student": "net", "labels": "soft", "augmented": True, "seed": seed,
         "top1": 0.1 * seed + 0.01 * ipc * (method == "focus"), "seconds_distil": 1.0}
        for method in ("random", "focus") for ipc in (1, 10) for seed in (0, 1, 2)
    ]  # fmt: skip
    found = {one.setting: one for one in verdicts(rows[row] for row in order)}
    assert set(found) == {"ipc 1, net, soft", "ipc 10, net, soft"}
    for ipc in (1, 10):
        [difference] = found[f"ipc {ipc}, net, soft"].differences
        assert math.isclose(difference.mean, 0.01 * ipc, abs_tol=1e-9) and difference.seeds == 3
