"""Names that models are called by: folders, timm's names, the hub's; and what is said when there is none."""

import json
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from focusdd.core.errors import FocusError
from focusdd.models.load import load_model, new_net
from focusdd.models.names import origin

CPU = torch.device("cpu")


@pytest.fixture
def headless(tmp_path):
    """A ViT without a head, fitted at 96 px, in a config.json that does not say that its size is fixed."""
    net = timm.create_model("test_vit", num_classes=0, img_size=96)
    folder = tmp_path / "headless"
    folder.mkdir()
    save_file(net.state_dict(), folder / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 0, "pretrained_cfg": {"input_size": [3, 96, 96]}}
    config["pretrained_cfg"] |= {"mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0, "classifier": "head"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def hub(headless, tmp_path, monkeypatch):
    """A cache of huggingface_hub that holds the same as me/headless."""
    repository = tmp_path / "hub" / "models--me--headless"
    shutil.copytree(headless, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(repository.parent))
    return repository


def test_a_vit_is_built_at_the_size_that_its_weights_declare(headless):
    model = load_model(str(headless), CPU)
    assert (model.input_size, model.fitted_size) == (96, 96)
    pixels = torch.randint(0, 256, (1, 3, 96, 96))
    expected = timm.create_model("test_vit", num_classes=0, img_size=96).eval()
    expected.load_state_dict(load_file(headless / "model.safetensors"))
    with torch.inference_mode():
        assert torch.allclose(model.net(model.prepare(pixels)), expected(model.prepare(pixels)), atol=1e-5)


def test_a_vit_takes_another_size_when_told(headless):
    model = load_model(str(headless), CPU, 64)
    assert (model.input_size, model.fitted_size) == (64, 96)
    assert model.net.patch_embed.grid_size == (4, 4)
    assert model.logits(torch.zeros((1, 3, 64, 64))).shape == (1, 64)


def test_a_size_that_patches_do_not_fill_names_those_that_they_do(headless):
    with pytest.raises(FocusError, match="patches of 16 px, which do not fill 100 px: use 96 or 112"):
        load_model(str(headless), CPU, 100)


@pytest.mark.parametrize("prefix", ["hf-hub:", "hf_hub:", "hf:"])
def test_names_on_the_hub_come_from_its_cache(hub, prefix):
    model = load_model(f"{prefix}me/headless", CPU)
    assert model.name == f"{prefix}me/headless"
    assert model.weights == load_model(str(hub), CPU).weights  # the cached folder itself
    net, arguments = new_net(f"{prefix}me/headless", 3, 64, CPU, 0)
    assert net.num_classes == 3 and arguments == {"img_size": 64}


@pytest.mark.parametrize(
    "name", ["timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"]
)
def test_timm_on_the_hub_is_timm(name):
    assert origin(name, weights=False).architecture == "resnet18.a1_in1k"
    assert new_net(name, 3, 64, CPU, 0)[0].num_classes == 3


@pytest.mark.parametrize("name", ["timm/resnet18.a1_in1k", "resnet18", "hf-hub:me/other"])
def test_without_a_network_the_remedies_are_named(hub, name):
    words = r"hub.*: give a checkpoint folder, set HF_HOME to .*, or make a model with `focusdd fit`"
    with pytest.raises(FocusError, match=words):
        load_model(name, CPU)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet-18", "did you mean resnet18,"),
        ("Mobilenetv2_100", "did you mean mobilenetv2_100,"),
        ("dinov2", "vit_.*dinov2"),
        ("resnet18.a1_in2k", r"did you mean resnet18\.a1_in1k,"),
        ("runs/vit", r"there is no such folder \(a name on the Hugging Face Hub is hf-hub:runs/vit\)"),
    ],
)
def test_unknown_names_are_met_with_the_nearest(name, near):
    with pytest.raises(FocusError, match=near):
        load_model(name, CPU)
