"""Real photographs with boxes. Run wherever `FOCUSDD_REAL_DATA` or ../shared holds them.

Expected: data/foda10/ (COCO) and data/cards/ (Pascal VOC beside the images).
"""

import os
from pathlib import Path

import pytest

from focusdd.core.images import decode
from focusdd.sources.detection import open_detection_source

ROOT = Path(os.environ.get("FOCUSDD_REAL_DATA", Path(__file__).parents[3] / "shared")) / "data"


@pytest.mark.parametrize(
    ("name", "images", "classes", "objects"),
    [("foda10", (2975, 600), 10, 3575), ("cards", (296, 67), 6, 670)],
)
def test_every_image_is_listed_and_its_boxes_fit(name, images, classes, objects):
    if not (ROOT / name).exists():
        pytest.skip("no real data on this machine")
    train, val = (open_detection_source(ROOT / name, split) for split in ("train", "val"))
    assert (len(train.records), len(val.records)) == images
    assert train.classes == val.classes
    assert len(train.classes) == classes
    assert train.fingerprint != val.fingerprint
    found = 0
    for source in (train, val):
        assert (source.skipped, source.problems) == ((), ())
        for record in source.records:
            stated = decode(source.read(record.key), least_side=32)[1:]
            made = source.objects(record.key, *stated)
            assert (made.boxes[:, 2:] <= stated).all()
            assert (made.boxes[:, 2:] - made.boxes[:, :2] > 1).all()
            found += len(made.boxes)
    assert found == objects
