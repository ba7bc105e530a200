"""Loading models, mapping classes, and refusing what cannot work."""

import json
import platform
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from focusdd.core.errors import FocusError
from focusdd.demo.run import WEIGHTS
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.checks import (
    checked_outputs,
    map_classes,
    matched_outputs,
    refuse_near_chance,
    stratified,
)
from focusdd.models.device import autocast, keep_freed_memory
from focusdd.models.load import Model, load_model, new_net, normalise
from focusdd.sources import DemoSource
from focusdd.sources.base import Record
from focusdd.sources.imagenet import class_name, imagenet_classes

CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path):
    net, arguments = new_net("test_vit", 10, 32, CPU, seed=1, model_args={"depth": 2})
    source = DemoSource(1)
    save_checkpoint(tmp_path, net, source.classes, source.class_names, 32, arguments, {"made_by": "a test"})
    return tmp_path, net.eval()


def test_a_checkpoint_is_loaded_by_timm_and_by_us(checkpoint):
    folder, net = checkpoint
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    ours = load_model(str(folder), CPU)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert ours.input_size == 32
    assert ours.classes == DemoSource(1).classes
    with torch.inference_mode():
        expected = net(normalise(images, ours.mean, ours.std))
        assert torch.allclose(theirs(normalise(images, ours.mean, ours.std)), expected, atol=1e-5)
    assert torch.allclose(ours.logits(images), expected, atol=2e-2 if autocast_is_on() else 1e-5)


def autocast_is_on() -> bool:
    with autocast(CPU):
        return torch.is_autocast_enabled("cpu")


def test_the_hash_is_of_the_weights(checkpoint):
    folder, _ = checkpoint
    one, same = (load_model(str(folder), CPU).weights for _ in range(2))
    other, _ = new_net("test_vit", 10, 32, CPU, seed=2, model_args={"depth": 2})
    source = DemoSource(1)
    save_checkpoint(folder, other, source.classes, source.class_names, 32, {"depth": 2, "img_size": 32}, {})
    assert one == same != load_model(str(folder), CPU).weights


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "names no architecture"),
        (lambda folder: (folder / "config.json").unlink(), "needs config.json"),
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(checkpoint, spoil, words):
    folder, _ = checkpoint
    spoil(folder)
    with pytest.raises(FocusError, match=words):
        load_model(str(folder), CPU)


def test_a_pickle_is_not_executed(checkpoint, tmp_path):
    folder, _ = checkpoint
    shutil.move(folder / "model.safetensors", folder / "pytorch_model.bin")
    with pytest.raises(FocusError, match=r"model\.safetensors"):
        load_model(str(folder), CPU)


def test_unknown_names_are_met_with_near_ones():
    with pytest.raises(FocusError, match=r"did you mean .*resnet"):
        load_model("resnet_18", CPU)
    with pytest.raises(FocusError, match="does not take the arguments"):
        new_net("resnet18", 10, 32, CPU, seed=0, model_args={"depht": 3})
    with pytest.raises(FocusError, match="does not take the arguments"):
        new_net("resnet18", 10, 32, CPU, seed=0, model_args={"drop_path_rate": "high"})
    with pytest.raises(FocusError, match=r"16 px .* \(convnet5 needs .* 32 px\): use another size"):
        new_net("convnet5", 10, 16, CPU, seed=0)


def test_imagenet_heads_know_wordnet_folders():
    assert len(imagenet_classes()) == 1000
    assert imagenet_classes()[0] == "n01440764"
    assert class_name("n01440764") == "tench"
    assert class_name("my cat") == "my cat"
    model = load_model("test_vit", CPU, pretrained=False)
    source = DemoSource(1)
    source.classes = ("n03888257", "n01440764")
    source.class_names = ("parachute", "tench")
    assert map_classes(model, source).tolist() == [imagenet_classes().index("n03888257"), 0]
    source.classes = ("n03888257", "cat")
    assert map_classes(model, source) is None
    with pytest.raises(FocusError, match="does not know the classes"):
        matched_outputs(model, source, "teacher")


def test_classes_match_by_name_in_any_order(checkpoint):
    folder, _ = checkpoint
    config = json.loads((folder / "config.json").read_text())
    config["label_names"].reverse()
    (folder / "config.json").write_text(json.dumps(config))
    assert map_classes(load_model(str(folder), CPU), DemoSource(1)).tolist() == list(range(9, -1, -1))


def test_classes_are_told_apart_by_case_alone_but_not_by_the_form_of_unicode(checkpoint):
    model, source = load_model(str(checkpoint[0]), CPU), DemoSource(1)
    names = (*"aAbBcCdDe", "caf\u00e9")
    source.classes = source.class_names = ("cafe\u0301", *"eDdCcBbAa")
    known = replace(model, classes=names, class_names=names)
    assert map_classes(known, source).tolist() == list(range(9, -1, -1))


def model_fitted_at(fitted: int, used: int = 64) -> Model:
    return replace(load_model("test_vit", CPU, used, pretrained=False), fitted_size=fitted)


def test_near_chance_names_the_cause(capsys):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 300)
    model = model_fitted_at(64)
    good = np.where(rng.random(300) < 0.5, labels, 0)
    assert refuse_near_chance(good, labels, 10, "teacher", "here", model).top1 == (good == labels).mean()
    with pytest.raises(FocusError, match="class order is wrong"):
        refuse_near_chance((labels + 3) % 10, labels, 10, "teacher", "here", model)
    guessed = rng.integers(0, 10, 300)
    with pytest.raises(FocusError, match=r"other classes.*not at all$"):
        refuse_near_chance(guessed, labels, 10, "teacher", "here", model)
    with pytest.raises(FocusError, match=r"other classes.*--train.anyway$"):
        refuse_near_chance(guessed, labels, 10, "teacher", "here", model, anyway=False)
    with pytest.raises(FocusError, match="fitted at 32 px and is used at 64 px"):
        refuse_near_chance(guessed, labels, 10, "teacher", "here", model_fitted_at(32))
    capsys.readouterr()
    assert refuse_near_chance(guessed, labels, 10, "teacher", "here", model, anyway=True).images == 300
    assert "other classes" in capsys.readouterr().out


def test_always_the_most_frequent_class_is_chance():
    """On 200 : 10 images it is 95 % right, and knows nothing."""
    labels = np.repeat([0, 1], [200, 10])
    model = model_fitted_at(64)
    with pytest.raises(FocusError, match=r"95\.2% of 210 .* right, chance is 95\.2% \(50\.0% balanced"):
        refuse_near_chance(np.zeros(210, int), labels, 2, "teacher", "here", model)
    good = np.where(np.arange(210) % 50 == 0, 1 - labels, labels)  # seldomer right than 95.2 %
    found = refuse_near_chance(good, labels, 2, "teacher", "here", model)
    assert found.top1 == (good == labels).mean()
    assert found.balanced == pytest.approx((196 / 200 + 9 / 10) / 2)
    assert found.chance == 200 / 210


def test_few_images_are_too_few_to_judge(capsys):
    labels = np.array([0] * 6 + [1] * 6)
    almost = np.where(np.arange(12) == 3, 1, labels)  # 11 of 12 right
    refuse_near_chance(almost, labels, 2, "teacher", "here", model_fitted_at(64))
    assert "12 images of here are too few to tell" in capsys.readouterr().out


def test_a_model_is_scored_once_on_the_same_images(monkeypatch, capsys):
    source, reads = DemoSource(2), []
    monkeypatch.setattr(source, "read", lambda key: reads.append(key) or DemoSource(2).read(key))
    found = []
    for size in (64, 64, 32):
        model = load_model(str(WEIGHTS / "teacher"), CPU, size)  # anew, as every student does
        found.append(checked_outputs(model, source, "teacher")[1])
    assert found[0] is found[1] is not found[2] and len(reads) == 2 * len(source.records)
    assert capsys.readouterr().out.count("on a sample of 20 images of demo:2") == 2


def test_a_sample_has_every_class():
    records = [Record(str(number), 0 if number < 900 else 1 + number % 3) for number in range(1000)]
    sample = stratified(records, 40)
    assert len(sample) == 40
    assert [record for record in records if record in sample] == sample
    counts = np.bincount([record.label for record in sample])
    assert counts.tolist() == [10, 10, 10, 10]
    assert stratified(records[:5], 40) == records[:5]


@pytest.mark.parametrize(
    ("cpu", "pays"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": False, "amx_bf16": False}, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False, "amx_bf16": False}, False),
    ],
)
def test_reduced_precision_is_taken_where_the_processor_is_built_for_it(
    monkeypatch: pytest.MonkeyPatch, cpu: dict[str, object], pays: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **cpu}, raising=False
    )
    assert autocast_is_on() == pays


@pytest.mark.parametrize(
    ("capability", "hip", "found"),
    [
        ((7, 5), None, False),
        ((7, 0), None, False),
        ((8, 0), None, True),
        ((9, 0), None, True),
        ((9, 4), "6.2", True),
    ],
)
def test_gpus_without_bfloat16_units_compute_in_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None, found: bool
) -> None:
    chosen: list[object] = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch, "autocast", lambda device, dtype, **_: chosen.append(dtype) or nullcontext())
    with autocast(torch.device("cuda")):
        pass
    assert chosen == ([torch.bfloat16] if found else [])


STEPS = """
import resource, sys, torch
from focusdd.models.device import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory(torch.device("cpu"))
net = torch.nn.Sequential(*(torch.nn.Conv2d(16, 16, 3) for _ in range(4)))
images = torch.ones(8, 16, 64, 64)
for number in range(7):
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    net(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_training_step_uses_the_memory_of_the_one_before():
    pages = [
        int(subprocess.run([sys.executable, "-c", STEPS, *word], capture_output=True, check=True).stdout)
        for word in ([], ["keep"])
    ]
    assert pages[1] < pages[0] / 2


def test_memory_of_a_gpu_is_left_alone():
    assert not keep_freed_memory(torch.device("cuda"))
