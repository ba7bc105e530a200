"""Distilling real photographs with boxes. Run wherever `FOCUSDD_REAL_DATA` or ../shared holds them.

Expected: data/cards/ (Pascal VOC beside the images) and weights/vit_tiny_imagenette/.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from focusdd.core.images import decode
from focusdd.settings import DetectDistillSettings, ExtractorSettings
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.scenes import Scenes
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract

ROOT = Path(os.environ.get("FOCUSDD_REAL_DATA", Path(__file__).parents[3] / "shared"))
VIT = ROOT / "weights" / "vit_tiny_imagenette"
pytestmark = pytest.mark.skipif(not VIT.exists(), reason="no real data on this machine")


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    source = open_detection_source(ROOT / "data" / "cards")
    views = ExtractorSettings(extractor=str(VIT), input_size=128)
    return source, extract(source, tmp_path_factory.mktemp("cards") / "index", views, task=DETECT)


def test_a_probe_tells_cards_apart_better_than_chance(cards):
    _, index = cards
    assert index.info["counts"] == {"images": 296, "objects": 527, "skipped": 0}
    assert index.info["extractor"]["accuracy"] > 1.5 / 6


@pytest.mark.parametrize("layout", ["grid", "pack"])
def test_every_label_is_its_original_moved_and_every_window_shows_its_target(cards, layout, tmp_path):
    source, index = cards
    settings = DetectDistillSettings(ratio=0.034, size=320, layout=layout, format="png")
    made = distill(source, tmp_path / "tiny", settings, task=DETECT, index=index)
    assert made.info["images"] == 10
    scenes = Scenes.from_table(pq.read_table(made.folder / "plan.parquet"))
    labelled = 0
    for tile in scenes.tiles:
        width, height = decode(source.read(tile.key), least_side=32)[1:]
        objects = source.objects(tile.key, width, height)
        whole = dict(zip(objects.ids.tolist(), objects.boxes, strict=True))
        across = (tile.place[2] - tile.place[0]) / (tile.box[2] - tile.box[0])
        down = (tile.place[3] - tile.place[1]) / (tile.box[3] - tile.box[1])
        for one in tile.objects:
            np.testing.assert_allclose(one.source, whole[one.id], atol=1e-3)
            x0, y0, x1, y1 = one.source
            moved = [
                tile.place[0] + (x0 - tile.box[0]) * across, tile.place[1] + (y0 - tile.box[1]) * down,
                tile.place[0] + (x1 - tile.box[0]) * across, tile.place[1] + (y1 - tile.box[1]) * down,
            ]  # fmt: skip
            clipped = np.clip(moved, [*tile.place[:2]] * 2, [*tile.place[2:]] * 2)
            np.testing.assert_allclose(one.box, clipped, atol=0.5)
            labelled += one.kept
        if tile.kind == "patch":
            assert any(one.id == tile.target and one.kept and one.visible > 0.999 for one in tile.objects)
    annotations = json.loads((made.folder / "annotations.json").read_text())["annotations"]
    assert len(annotations) == labelled > 30
