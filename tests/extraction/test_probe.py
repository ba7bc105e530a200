"""The probe: it does not vote for itself, and it judges part by part what it would judge at once."""

import numpy as np
import pytest

import focusdd.extraction.probe
from focusdd.extraction.probe import judge_parts, rows_to_fit


def judged(features, labels, num_classes, counts=None):
    """Confidence and prediction of all rows, from parts of so many rows each."""
    counts = counts or [len(labels)]
    parts = np.split(features, np.cumsum(counts)[:-1])
    found = list(judge_parts(labels, num_classes, counts, lambda number: parts[number]))
    assert [len(part.confidence) for part in found] == counts
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))


def test_it_does_not_vote_for_itself():
    """On pure noise a probe that saw its own images would be far above chance."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 30)
    confidence, predicted = judged(rng.normal(size=(120, 100)), labels, 4)
    assert (predicted == labels).mean() < 0.45
    assert 0.1 < confidence.mean() < 0.4


def test_it_agrees_with_one_fitted_by_hand():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(2)
    labels = np.tile(np.arange(3), 20)
    features = rng.normal(size=(60, 5)) + labels[:, None]
    confidence, predicted = judged(features, labels, 3)
    turn = np.arange(60) // 3 % 5
    for row in (0, 7, 31, 59):
        rest = turn != turn[row]
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        probe.fit(features[rest].astype(np.float32), labels[rest])
        expected = probe.predict_proba(features[row : row + 1].astype(np.float32))[0]
        assert confidence[row] == pytest.approx(expected[labels[row]], abs=1e-5)
        assert predicted[row] == expected.argmax()


def test_parts_make_no_difference():
    rng = np.random.default_rng(5)
    labels = rng.integers(-1, 3, 90)
    features = (rng.normal(size=(90, 6)) + labels[:, None]).astype(np.float16)
    whole = judged(features, labels, 3)
    parts = judged(features, labels, 3, [40, 0, 1, 49])
    assert np.allclose(whole[0], parts[0], atol=1e-6)
    assert np.array_equal(whole[1], parts[1])


def test_it_is_fitted_on_a_part_of_many_images(monkeypatch):
    """Its memory does not grow with the data; images that took no part are judged all the same."""
    monkeypatch.setattr(focusdd.extraction.probe, "MOST_FITTED", 150)
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), (250, 60, 10))  # 250 in steps of 5 would all be of one fold
    features = (rng.normal(size=(320, 6)) + 3 * labels[:, None]).astype(np.float16)
    fitted = rows_to_fit(labels, 3)
    assert np.bincount(labels[fitted]).tolist() == [50, 50, 10]
    assert (np.diff(fitted) > 0).all()
    confidence, predicted = judged(features, labels, 3)
    assert (predicted == labels).mean() > 0.95
    assert confidence.mean() > 0.9
    assert rows_to_fit(np.where(labels == 0, -1, labels), 3).min() >= 250


def test_rows_that_cannot_be_judged_are_neutral():
    rng = np.random.default_rng(4)
    labels = np.array([0] * 10 + [1] * 10 + [2, -1])  # class 2 has one row, the last takes no part
    confidence, predicted = judged(rng.normal(size=(22, 3)) + 5 * labels[:, None], labels, 3)
    assert (predicted[:20] == labels[:20]).all()
    assert predicted[20:].tolist() == [-1, -1]
    assert confidence[20:] == pytest.approx([1 / 3, 1 / 3])


def test_a_single_class_needs_no_probe():
    confidence, predicted = judged(np.zeros((4, 2)), np.zeros(4, int), 1)
    assert (confidence == 1).all() and (predicted == -1).all()


def test_two_images_of_every_class_are_too_few_to_judge():
    labels = np.repeat(np.arange(3), 2)
    confidence, predicted = judged(np.random.default_rng(1).normal(size=(6, 8)), labels, 3)
    assert (predicted == -1).all() and np.allclose(confidence, 1 / 3)


def test_a_class_of_two_images_is_judged_without_a_warning(recwarn):
    """Each fold leaves one of them to fit on."""
    labels = np.repeat(np.arange(3), (2, 3, 3))
    judged(np.random.default_rng(1).normal(size=(8, 8)), labels, 3)
    assert not [one for one in recwarn if "Only one sample" in str(one.message)]
