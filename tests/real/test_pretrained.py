"""Real pretrained weights: a headless DINOv2 at its own 518 px, and ImageNet classifiers of 1,000 classes.

`FOCUSDD_PRETRAINED` names a folder that weights/pretrained.py of the real data has filled; without it, that
script fills pytest's cache, once.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from focusdd import ExtractSettings, FitSettings, extract, fit, open_source
from focusdd.models.checks import matched_outputs, sample_accuracy
from focusdd.models.load import load_model, new_net
from focusdd.models.start import inherited

ROOT = Path(os.environ.get("FOCUSDD_REAL_DATA", Path(__file__).parents[3] / "shared"))
SCRIPT = ROOT / "weights" / "pretrained.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="no real data on this machine")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pretrained(request):
    if named := os.environ.get("FOCUSDD_PRETRAINED"):
        return Path(named)
    folder = request.config.cache.mkdir("pretrained")
    if not (folder / "efficientnet_lite2" / "config.json").exists():
        made = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"the weights cannot be made: {made.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight photographs of every class in training and validation, linked."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "val"):
        for folder in sorted((ROOT / "data" / "imagenette" / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:8]:
                (root / split / folder.name / path.name).symlink_to(path)
    return root


def test_a_vit_is_built_at_its_own_size_and_at_others(pretrained):
    model = load_model(str(pretrained / "dinov2_small"), CPU)
    assert (model.input_size, model.net.patch_embed.grid_size) == (518, (37, 37))
    assert model.logits(torch.zeros((1, 3, 518, 518))).shape == (1, 384)
    assert load_model(str(pretrained / "dinov2_small"), CPU, 224).net.patch_embed.grid_size == (16, 16)


def test_a_probe_stands_in_for_the_head(pretrained, photos, tmp_path):
    settings = ExtractSettings(extractor=str(pretrained / "dinov2_small"), input_size=112)
    index = extract(open_source(photos), tmp_path / "index", settings)
    assert index.info["extractor"]["confidence"] == "probe"
    assert index.info["extractor"]["accuracy"] > 0.3  # chance is 0.1
    rows = index.table(["confidence", "predicted", "mass"])
    assert min(rows["predicted"].to_pylist()) >= 0 and np.isfinite(rows["confidence"].to_numpy()).all()


def test_a_thousand_classes_are_mapped_by_wordnet_id(pretrained, photos):
    """At 224 px it gets 99 % of all photographs."""
    model, source = load_model(str(pretrained / "efficientnet_lite0"), CPU, 128), open_source(photos, "val")
    outputs = matched_outputs(model, source, "teacher")
    assert len(model.classes) == 1000 and outputs[0] == 0  # tench
    assert sample_accuracy(model, outputs, source, "teacher").top1 > 0.9


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("dinov2_small", 56, "are kept; resized: pos_embed; new: head.weight, head.bias"),
        ("efficientnet_lite0", 64, "new: classifier.weight, classifier.bias"),
        ("efficientnet_lite2", 64, "new: classifier.weight, classifier.bias"),
    ],
)
def test_fit_starts_from_each(pretrained, photos, name, size, words):
    source = open_source(photos)
    folder = str(pretrained / name)
    net, _ = new_net(folder, 10, size, CPU, 0, pretrained=True, classes=source.classes)
    assert words in inherited(folder, net)


def test_fit_from_one_checkpoint_to_the_next(pretrained, photos, tmp_path, capsys):
    source = open_source(photos)
    first = FitSettings(init=str(pretrained / "efficientnet_lite0"), size=64, epochs=1, batch_size=40)
    folder = fit(source, tmp_path / "first", first)
    model = load_model(str(folder), CPU)
    assert model.input_size == 64 and model.classes == source.classes
    capsys.readouterr()
    fit(source, tmp_path / "second", first.model_copy(update={"init": str(folder)}))
    assert "296 of its 296 tensors are kept" in " ".join(capsys.readouterr().out.split())
