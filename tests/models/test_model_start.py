"""What a model that is trained starts from, and what is said of it."""

import pytest
import torch
from safetensors.torch import load_file

from focusdd.core.errors import FocusError
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.load import new_net
from focusdd.models.start import Start, inherited, start_of

CPU = torch.device("cpu")
CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def checkpoint(tmp_path):
    net, arguments = new_net("test_vit", 3, 64, CPU, seed=1, model_args={"depth": 2})
    save_checkpoint(tmp_path, net, CLASSES, CLASSES, 64, arguments, {})
    return str(tmp_path)


def test_the_same_classes_keep_the_head(checkpoint):
    net, arguments = new_net(checkpoint, 3, 64, CPU, 0, pretrained=True, classes=CLASSES)
    stored = load_file(f"{checkpoint}/model.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in net.state_dict().items())
    assert inherited(checkpoint, net) == f"{checkpoint}: {len(stored)} of its {len(stored)} tensors are kept"
    assert arguments == {"depth": 2, "img_size": 64}


@pytest.mark.parametrize("classes", [("bee", "ant", "cat"), ("ant", "bee"), ("ant", "bee", "cat", "dog")])
def test_other_classes_have_a_new_head_and_another_size_other_positions(checkpoint, classes):
    net, _ = new_net(checkpoint, len(classes), 96, CPU, 0, pretrained=True, classes=classes)
    stored = load_file(f"{checkpoint}/model.safetensors")
    assert net.num_classes == len(classes)
    assert torch.equal(net.blocks[1].attn.qkv.weight, stored["blocks.1.attn.qkv.weight"])
    expected = f"{len(stored) - 3} of its {len(stored)} tensors are kept; resized: pos_embed; "
    assert inherited(checkpoint, net) == f"{checkpoint}: {expected}new: head.weight, head.bias"


def test_a_convnet_has_a_new_head_for_other_classes(tmp_path):
    save_checkpoint(tmp_path, new_net("convnet5", 3, 32, CPU, seed=1)[0], CLASSES, CLASSES, 32, {}, {})
    net, _ = new_net(str(tmp_path), 3, 32, CPU, 0, pretrained=True, classes=("bee", "ant", "cat"))
    assert inherited(str(tmp_path), net).endswith("new: classifier.weight, classifier.bias")


def test_what_there_is_to_start_from(checkpoint, capsys):
    start = start_of("", checkpoint, None, {})
    assert start[:2] == (checkpoint, True) and list(start.inputs) == ["init"]
    assert start_of("test_vit", checkpoint, None, {}) == start
    assert start_of("resnet18", "", False, {}) == Start("resnet18", False, {})
    assert start_of("convnet5", "", None, {}) == Start("convnet5", False, {})  # timm has no weights of it
    assert start_of("resnet18", "", None, {"depth": 3}) == Start("resnet18", False, {})
    assert capsys.readouterr().out == ""
    assert start_of("resnet18", "", None, {}) == Start("resnet18", False, {})
    assert "Training starts from random weights" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("model", "init", "pretrained", "words"),
    [
        ("", "", None, "give --model, a timm name, or --init"),
        ("resnet18", "checkpoint", None, "is a test_vit, not a resnet18"),
        ("", "resnet18", None, "use --model resnet18"),
        ("resnet18", "", True, "cannot be loaded"),
        ("resnet-18", "", None, "did you mean resnet18"),
    ],
)
def test_what_cannot_be_started_from_is_refused(checkpoint, model, init, pretrained, words):
    with pytest.raises(FocusError, match=words):
        start = start_of(model, checkpoint if init == "checkpoint" else init, pretrained, {})
        new_net(start.name, 3, 64, CPU, 0, start.pretrained)
