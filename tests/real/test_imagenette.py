"""Real photographs with real weights. Run wherever `FOCUSDD_REAL_DATA` or ../shared holds them.

Expected: data/imagenette/{train,val}/<WordNet id>/ and weights/{resnet18,vit_tiny}_imagenette/.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from focusdd import (
    DistillSettings,
    ExtractSettings,
    FocusError,
    TrainSettings,
    distill,
    extract,
    open_source,
    train,
)
from focusdd.models.checks import matched_outputs, sample_accuracy
from focusdd.models.load import load_model

ROOT = Path(os.environ.get("FOCUSDD_REAL_DATA", Path(__file__).parents[3] / "shared"))
VIT, TEACHER = ROOT / "weights" / "vit_tiny_imagenette", ROOT / "weights" / "resnet18_imagenette"
pytestmark = pytest.mark.skipif(not VIT.exists(), reason="no real data on this machine")
CPU = torch.device("cpu")
PER_CLASS = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A few photographs of every class, linked: links to files are read as files."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "val"):
        for folder in sorted((ROOT / "data" / "imagenette" / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:: max(1, len(list(folder.iterdir())) // PER_CLASS)][
                :PER_CLASS
            ]:
                (root / split / folder.name / path.name).symlink_to(path)
    return root


@pytest.fixture(scope="module")
def index(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "index"
    return extract(open_source(photos), out, ExtractSettings(extractor=str(VIT), input_size=128))


def test_the_weights_know_the_photographs(photos):
    """The published accuracies are 80.6 % and 64.9 % at 128 px; a sample of 160 may be 12 points off."""
    source = open_source(photos, "val")
    assert source.class_names[0] == "tench"
    for folder, expected in ((TEACHER, 0.806), (VIT, 0.649)):
        model = load_model(str(folder), CPU, 128)
        found = sample_accuracy(model, matched_outputs(model, source, "model"), source, "model")
        assert abs(found.top1 - expected) < 0.12


def test_another_class_order_is_refused_by_name(photos, tmp_path):
    """The field's commonest trap: folders renamed to numbers in another order than the teacher's."""
    config = json.loads((TEACHER / "config.json").read_text())
    config["label_names"] = config["label_names"][::-1]
    shutil.copy(TEACHER / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = open_source(photos)
    model = load_model(str(tmp_path), CPU, 128)
    with pytest.raises(FocusError, match="class order is wrong"):
        sample_accuracy(model, matched_outputs(model, source, "teacher"), source, "teacher")


def test_patches_hold_what_the_extractor_looks_at(index):
    rows = index.table(["width", "height", "patches", "mass", "confidence"]).to_pylist()
    assert len(rows) == 10 * PER_CLASS
    sides = np.array([row["patches"][0]["x1"] - row["patches"][0]["x0"] for row in rows])
    # the share (0.75) less what is given up to have the object in the middle
    assert np.median([row["mass"] for row in rows]) > 0.65
    assert sides.min() >= 112 / 1.5 - 1e-3
    assert np.percentile(sides, 90) - np.percentile(sides, 10) > 20  # they follow the object's size


def test_distilled_photographs_train_a_student(photos, index, tmp_path):
    source = open_source(photos)
    made = distill(source, tmp_path / "tiny", DistillSettings(ipc=2, grid=2), index=index)
    loaded = ImageFolder(str(tmp_path / "tiny" / "train"))
    assert loaded.classes == list(source.classes)
    assert len(loaded) == 20
    assert len({tile.key for tile in made.plan().tiles}) == 80  # every tile another photograph
    recipe = TrainSettings(teacher=str(TEACHER), size=64, epochs=2, batch_size=10, student="test_resnet")
    result = train(made, open_source(photos, "val"), tmp_path / "student", recipe)
    assert result.val["images"] == 10 * PER_CLASS
