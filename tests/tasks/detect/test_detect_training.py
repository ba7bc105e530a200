"""Training a detector on a distilled dataset, scoring it, and leaving everything else alone."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw

from focusdd.core.errors import FocusError
from focusdd.core.files import hash_of, write_json
from focusdd.core.images import UnreadableImage
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.settings import DetectTrainSettings
from focusdd.sources.base import Objects, Record
from focusdd.tasks.detect import train as stage_module
from focusdd.tasks.detect.detectors import Detector, Found, Metric, evaluate, load_detector, save_detector
from focusdd.tasks.detect.distilled import open_detection
from focusdd.tasks.detect.train import shown_rows, split_steps, train
from focusdd.tasks.detect.yolo import YOLO, Lessons, detection_loss, new_network, ultralytics

CLASSES = ("square", "disc")
CPU = torch.device("cpu")


def scene(seed: int, width: int = 80, height: int = 60) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A red square and mostly a green disc on grey: image, boxes in pixels, labels."""
    rng = np.random.default_rng([7, seed])
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(90, 170, 1).repeat(3)))
    pen, boxes, labels = ImageDraw.Draw(image), [], []
    for label, left in enumerate(rng.permutation([0, width // 2])):
        if label == 1 and rng.random() < 0.3:
            continue
        side = int(rng.integers(18, 30))
        x, y = int(left + rng.integers(2, width // 2 - side - 1)), int(rng.integers(2, height - side - 1))
        draw, colour = ((pen.rectangle, (230, 30, 30)), (pen.ellipse, (30, 220, 40)))[label]
        draw((x, y, x + side - 1, y + side - 1), fill=colour)
        boxes.append((x, y, x + side, y + side))
        labels.append(label)
    return image, np.array(boxes, dtype=np.float64), np.array(labels, dtype=np.int32)


class Scenes:
    """A detection source of generated scenes.

    The last `broken` of them are no images, the first `mismatched` were annotated at another size.
    """

    name, split = "scenes", "val"
    class_names = ("red square", "green disc")
    skipped = problems = ()

    def __init__(self, count: int, broken: int = 0, mismatched: int = 0, classes=CLASSES) -> None:
        self.count, self.broken, self.mismatched, self.classes = count, broken, mismatched, classes
        self.records = tuple(Record(f"{n:03d}.png", -1) for n in range(count))

    @property
    def fingerprint(self) -> str:
        return hash_of([self.count, self.broken, self.mismatched])

    def number(self, key: str) -> int:
        return int(key[:3])

    def read(self, key: str) -> bytes:
        if self.number(key) >= self.count - self.broken:
            return b"this is no image"
        buffer = io.BytesIO()
        scene(1000 + self.number(key))[0].save(buffer, "PNG")
        return buffer.getvalue()

    def objects(self, key: str, width: int, height: int) -> Objects:
        if self.number(key) < self.mismatched:
            raise UnreadableImage("annotated at 9 x 9 pixels")
        _, boxes, labels = scene(1000 + self.number(key))
        return Objects(boxes, labels, np.zeros(len(labels), dtype=bool), np.arange(len(labels)))


def write_yolo(folder: Path, split: str, count: int, first: int, suffix: str = "jpg") -> None:
    """images/<split> and labels/<split> of generated scenes."""
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for number in range(count):
        image, boxes, labels = scene(first + number)
        image.save(folder / "images" / split / f"{number:05d}.{suffix}", quality=95)
        lines = []
        for label, (x0, y0, x1, y1) in zip(labels, boxes, strict=True):
            centre = ((x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height)
            size = ((x1 - x0) / image.width, (y1 - y0) / image.height)
            lines.append(" ".join(map(str, (label, *centre, *size))))
        text = "\n".join(lines) + "\n"
        (folder / "labels" / split / f"{number:05d}.txt").write_text(text)


def make_distilled(folder: Path, count: int = 12, task: str = "detect", classes=CLASSES) -> Path:
    """A distilled detection dataset as `focusdd detect distill` writes it."""

    def make(work: Workspace) -> dict:
        write_yolo(folder, "train", count, 0)
        names = "".join(f"  {label}: {name}\n" for label, name in enumerate(classes))
        (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames:\n{names}")
        info = {
            "task": task,
            "key": work.key,
            "method": "focus",
            "ipc": count // 2,
            "size": 80,
            "seed": 0,
            "images": count,
            "classes": list(classes),
            "class_names": list(classes),
            "source": {"name": "scenes", "split": "train", "fingerprint": "none"},
        }
        write_json(folder / "distilled.json", info)
        pq.write_table(pa.table({"hash": ["none"] * count}), folder / "plan.parquet")
        return {"images": count}

    return run_stage(Stage("detect distill", 1, {"count": count}, {}), folder, make)


def settings(**options) -> DetectTrainSettings:
    return DetectTrainSettings(**{"size": 64, "batch_size": 8, "steps": 4, "device": "cpu", **options})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_distilled(tmp_path_factory.mktemp("data") / "tiny", 30)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """A detector after 120 steps: it finds squares or discs, as the case may be."""
    out = tmp_path_factory.mktemp("trained") / "detector"
    train(data, Scenes(12, broken=1, mismatched=1), out, settings(steps=120, lr=2e-3, mosaic=0.5))
    return out


def test_it_learns_and_says_what_it_reached(trained, data):
    result = json.loads((trained / "result.json").read_text())
    assert max(result["per_class"].values()) > 0.3
    assert result["map50"] >= result["map"] > 0.15
    assert result["detector"] == "yolo11n"
    assert result["steps"] == 120
    there = sum(len(scene(1000 + number)[2]) for number in range(1, 11))
    assert result["val"] == {
        "name": "scenes",
        "images": 10,
        "objects": there,
        "shared": 0,
        "skipped": [
            ["000.png", "annotated at 9 x 9 pixels"],
            ["011.png", "not an image in any format known to Pillow"],
        ],
    }
    info = json.loads((data / "distilled.json").read_text())
    assert result["distilled"] == {
        name: info[name] for name in ("key", "method", "ipc", "images", "size", "seed")
    }
    assert result["settings"]["lr"] == 2e-3
    assert "device" not in result["settings"]
    counts = json.loads((trained / "done.json").read_text())["counts"]
    assert counts == {"mAP50-95": result["map"], "mAP50": result["map50"]}
    assert {path.name for path in trained.iterdir()} == {
        *("stage.json", "result.json", "config.json", "model.safetensors", "done.json", "run.json")
    }


def test_loss_goes_down(trained, data):
    lessons = Lessons(open_detection(data).samples(64), 64, 0.0, False)
    batch = lessons.batch(range(16), 0, False)
    nets = [new_network("yolo11n", 2, CPU), load_detector(trained, "cpu").net]
    before, after = (float(detection_loss(net.train(), batch, CPU).detach()) for net in nets)
    assert after < 0.8 * before


def test_what_is_complete_is_not_done_again(trained, data, monkeypatch):
    monkeypatch.setattr(stage_module, "run_epochs", None)
    val = Scenes(12, broken=1, mismatched=1)
    result = train(data, val, trained, settings(steps=120, lr=2e-3, mosaic=0.5))
    assert result.to_dict() == json.loads((trained / "result.json").read_text())
    with pytest.raises(FocusError, match=r"lr was 0\.002, now 0\.01"):
        train(data, val, trained, settings(steps=120, lr=1e-2, mosaic=0.5))


def test_a_kill_changes_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr("focusdd.training.loop._SAVE_SECONDS", 0.0)
    train(data, Scenes(3), tmp_path / "whole", settings())
    seen = []

    def killed(*arguments):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return detection_loss(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stage_module, "family_of", lambda _: replace(YOLO, loss=killed))
        train(data, Scenes(3), tmp_path / "cut", settings())
    assert (tmp_path / "cut" / "resume.pt").exists()
    train(data, Scenes(3), tmp_path / "cut", settings())
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


def test_nothing_is_written_elsewhere_and_nobody_is_asked(data, tmp_path):
    """In a process of its own, as the import is what would write and ask."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    code = f"""
import socket, sys
def refuse(*arguments, **options): sys.exit("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_detect_training import Path, Scenes, settings, train
train(Path({str(data)!r}), Scenes(2), Path({str(tmp_path / "out")!r}), settings(steps=1))
"""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("XDG", "YOLO"))}
    source = str(Path(stage_module.__file__).parents[3])
    variables |= {"HOME": str(home), "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Ultralytics" not in done.stdout + done.stderr
    assert (tmp_path / "out" / "done.json").exists()
    assert not list(here.iterdir())
    assert not [path for path in home.rglob("*") if "ltralytics" in str(path)]
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_every_size_of_dataset_gets_the_same_steps():
    for steps, expected in ((1, (1, 1)), (7, (7, 1)), (20, (20, 1)), (100, (20, 5)), (2000, (20, 100))):
        assert split_steps(steps) == expected


@pytest.mark.parametrize("num_images", [1, 3, 40, 1000])
def test_all_images_are_shown_equally_often(num_images):
    rows = np.concatenate([shown_rows(part, 48, num_images, 5) for part in range(20)])
    assert len(rows) == 960
    counts = Counter(rows.tolist())
    often = [counts[image] for image in range(num_images)]
    assert max(often) - min(often) <= 1
    others = np.concatenate([shown_rows(part, 48, num_images, 6) for part in range(20)])
    assert np.array_equal(rows, others) == (num_images == 1)


def test_batches_depend_on_the_seed_alone(data):
    lessons = Lessons(open_detection(data).samples(64), 64, 1.0, True)
    first = lessons.batch([0, 1], 3, True)
    np.random.seed(9)  # noqa: NPY002 - what Ultralytics draws from
    again, other = lessons.batch([0, 1], 3, True), lessons.batch([0, 1], 4, True)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["img"], other["img"])
    assert np.random.randint(1000) == np.random.RandomState(9).randint(1000)  # noqa: NPY002


def test_labels_follow_the_pixels(data):
    """Under all augmentation, what a label calls a red square is mostly red, and a green disc green."""
    lessons = Lessons(open_detection(data).samples(64), 64, 1.0, True)
    for seed, mosaic in ((0, True), (1, False)):
        batch = lessons.batch(range(30), seed, mosaic)
        checked = 0
        for label, box, row in zip(batch["cls"][:, 0], batch["bboxes"], batch["batch_idx"], strict=True):
            x, y, width, height = (box * 64).tolist()
            if min(width, height) < 8:
                continue
            middle = batch["img"][int(row), :, int(y - 2) : int(y + 2), int(x - 2) : int(x + 2)].float()
            assert int(middle.mean((1, 2)).argmax()) == int(label)
            checked += 1
        assert checked > 20


def test_a_detector_comes_back_from_disk_as_it_was(trained, tmp_path):
    detector = load_detector(trained, "cpu")
    assert (detector.classes, detector.class_names) == (CLASSES, Scenes.class_names)
    save_detector(tmp_path, detector, {})
    again = load_detector(tmp_path, "cpu")
    images = [scene(number)[0] for number in range(3)]
    for first, second in zip(detector.find(images), again.find(images), strict=True):
        assert len(first.scores) > 0
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    result = json.loads((trained / "result.json").read_text())
    assert evaluate(again, Scenes(12, broken=1, mismatched=1)).map == pytest.approx(result["map"], abs=1e-5)


def test_damaged_weights_are_named(trained, tmp_path):
    with pytest.raises(FocusError, match=r"there is no .*config\.json"):
        load_detector(tmp_path)
    config = json.loads((trained / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    write_json(tmp_path / "config.json", config | {"detector": "yolo11s"})
    with pytest.raises(FocusError, match=r"the weights of .* cannot be loaded"):
        load_detector(tmp_path)
    write_json(tmp_path / "config.json", {"architecture": "resnet18"})
    with pytest.raises(FocusError, match="holds no detector"):
        load_detector(tmp_path)


class Marks(torch.nn.Module):
    """A network that "finds" in every image the one box given, in pixels of its input."""

    def __init__(self, box: tuple[float, ...]) -> None:
        super().__init__()
        self.box = box

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x0, y0, x1, y1 = self.box
        row = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.9, 0.0])
        return row[None, :, None].repeat(len(images), 1, 1)


@pytest.mark.parametrize(
    ("size", "inner", "expected"),
    [
        ((200, 100), (0, 16, 64, 48), (0, 0, 200, 100)),  # wide: bars above and below
        ((100, 200), (16, 0, 48, 64), (0, 0, 100, 200)),
        ((200, 100), (16, 24, 32, 40), (50, 25, 100, 75)),
        ((32, 32), (32, 32, 64, 64), (16, 16, 32, 32)),  # enlarged
        ((200, 100), (-9, 0, 99, 64), (0, 0, 200, 100)),  # cut to the image
    ],
)
def test_boxes_come_back_in_original_pixels(size, inner, expected):
    detector = Detector(Marks(inner), "yolo11n", CLASSES, CLASSES, 64, CPU)
    (found,) = detector.find([Image.new("RGB", size)])
    assert found.boxes[0].tolist() == pytest.approx(expected)
    (found,) = detector.find([Image.new("RGB", size)], [(size[0] * 2, size[1] * 2)])
    assert found.boxes[0].tolist() == pytest.approx([2 * value for value in expected])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inside = width * height
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def slow_precision(found: list[Found], there: list[Objects], label: int, least: float) -> float:
    """Average precision at one IoU by its definition: 101 points of recall, best matches first."""
    rows = [
        (float(score), image, box.numpy())
        for image, result in enumerate(found)
        for score, name, box in zip(result.scores, result.labels, result.boxes, strict=True)
        if name == label
    ]
    total = sum(int((objects.labels == label).sum()) for objects in there)
    taken, hits = set(), []
    for _, image, box in sorted(rows, key=lambda row: -row[0]):
        overlaps = [
            (iou(box, other), (image, number))
            for number, (other, name) in enumerate(zip(there[image].boxes, there[image].labels, strict=True))
            if name == label and (image, number) not in taken
        ]
        best, place = max(overlaps, default=(0.0, None))
        hits.append(best >= least)
        if hits[-1]:
            taken.add(place)
    recall = np.cumsum(hits) / total
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    points = [max(precision[recall >= point - 1e-12], default=0.0) for point in np.linspace(0, 1, 101)]
    return float(np.mean(points))


def some_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner, extent = rng.uniform(0, 50, (count, 2)), rng.uniform(10, 40, (count, 2))
    return np.concatenate([corner, corner + extent], axis=1)


def test_precision_agrees_with_its_definition():
    rng = np.random.default_rng(3)
    found, there, metric = [], [], Metric(3)
    for _ in range(12):
        boxes, labels = some_boxes(rng, 4), rng.integers(0, 2, 4).astype(np.int32)
        there.append(Objects(boxes, labels, np.zeros(4, dtype=bool), np.arange(4)))
        near = np.concatenate([boxes + rng.normal(0, 2, (4, 4)), some_boxes(rng, 3)])
        names = np.concatenate([labels, rng.integers(0, 2, 3)])
        scores = rng.permutation(84)[:7] / 84 + rng.random(7) * 1e-3
        order = np.argsort(-scores)
        parts = (near[order].astype(np.float32), scores[order].astype(np.float32), names[order])
        found.append(Found(*map(torch.from_numpy, parts)))
        metric.add(found[-1], there[-1])
    score = metric.score()
    levels = np.linspace(0.5, 0.95, 10)
    slow = np.array([[slow_precision(found, there, label, level) for level in levels] for label in (0, 1)])
    assert score.map == pytest.approx(slow.mean(), abs=1e-4)
    assert score.map50 == pytest.approx(slow[:, 0].mean(), abs=1e-4)
    assert score.per_class[:2] == pytest.approx(slow.mean(1), abs=1e-4)
    assert np.isnan(score.per_class[2])
    assert (score.images, score.objects) == (12, 48)


def test_ignored_objects_are_neither_missed_nor_mistaken():
    boxes = np.array([[0, 0, 20, 20], [30, 30, 60, 60]], dtype=np.float64)
    labels, ids = np.zeros(2, dtype=np.int32), np.arange(2)
    first = Found(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([0.5]), torch.tensor([0]))
    both = Found(
        torch.tensor([[30.0, 30, 45, 60], [0.0, 0, 20, 20]]), torch.tensor([0.9, 0.5]), torch.tensor([0, 0])
    )
    scores = {}
    for name, found in (("not found", first), ("found in part", both)):
        for ignored in (False, True):
            metric = Metric(1)
            metric.add(found, Objects(boxes, labels, np.array([False, ignored]), ids))
            assert metric.objects == 2 - ignored
            scores[name, ignored] = metric.score().map
    assert scores["not found", True] == scores["found in part", True] == pytest.approx(1.0)
    assert scores["not found", False] < 0.6
    assert scores["found in part", False] < 0.6


def test_the_score_agrees_with_ultralytics_own(trained, tmp_path, monkeypatch):
    """Measured here: mAP50-95 0.4145 and 0.4083, mAP50 0.5 and 0.4975.

    Ultralytics interpolates precision between its points, so that a perfect class reaches 0.995 and not 1,
    shrinks images without antialiasing, and pads them to rectangles, not to squares.
    """
    from ultralytics.models.yolo.detect import DetectionValidator

    # on a CPU, Ultralytics sets one thread less than there are cores, for the whole process and for good
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    write_yolo(tmp_path, "val", 40, 1000, "png")
    names = {0: "square", 1: "disc"}
    (tmp_path / "data.yaml").write_text(
        f"path: {tmp_path}\ntrain: images/val\nval: images/val\nnames: {names}\n"
    )
    detector = load_detector(trained, "cpu")
    ours = evaluate(detector, Scenes(40))
    detector.net.names = names
    options = {"data": str(tmp_path / "data.yaml"), "imgsz": 64, "batch": 8, "plots": False, "verbose": False}
    validator = DetectionValidator(
        save_dir=tmp_path / "ultralytics", args={**options, "device": "cpu", "workers": 0, "mode": "val"}
    )
    theirs = validator(model=detector.net)
    assert ours.map == pytest.approx(theirs["metrics/mAP50-95(B)"], abs=0.02)
    assert ours.map50 == pytest.approx(theirs["metrics/mAP50(B)"], abs=0.02)


def test_wrong_inputs_are_refused_in_a_sentence(data, tmp_path):

    def refused(folder: Path, what: str, val: Scenes | None = None) -> None:
        with pytest.raises(FocusError, match=what):
            train(folder, val or Scenes(2), tmp_path / f"out{len(list(tmp_path.iterdir()))}", settings())

    refused(tmp_path / "nowhere", "is not a distilled detection dataset")
    refused(make_distilled(tmp_path / "plain", 2, task="classify"), "without boxes: train on it with")
    refused(data, "it lacks 'square'; only it has 'ring'", Scenes(2, classes=("disc", "ring")))
    refused(data, "the same classes in another order", Scenes(2, classes=CLASSES[::-1]))
    refused(data, "no image of scenes can be read; the first reason: not an image", Scenes(2, broken=2))

    folder = make_distilled(tmp_path / "unfinished", 2)
    (folder / "done.json").unlink()
    refused(folder, "unfinished")
    folder = make_distilled(tmp_path / "few", 3)
    (folder / "images/train/00001.jpg").unlink()
    refused(folder, "holds 2 images instead of 3")
    folder = make_distilled(tmp_path / "blind", 3)
    label = folder / "labels/train/00001.txt"
    for text in ("2 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "0 0.5 0.5 0.1 nan", "red 0.5 0.5 0.1 0.1"):
        label.write_text(text + "\n")
        refused(folder, r"00001\.txt:1 .* is not a class below 2 and a box")
    label.unlink()
    refused(folder, r"00001\.txt cannot be read")
    for path in (folder / "labels/train").iterdir():
        path.write_text("")
    label.write_text("")
    refused(folder, "holds an object")
    (folder / "images/train/00000.jpg").write_bytes(b"torn")
    refused(folder, r"00000\.jpg not an image")


@pytest.mark.parametrize("name", ["ultralytics", "faster_coco_eval", "torchmetrics"])
def test_without_the_extra_a_sentence_says_what_to_install(name, data, tmp_path, monkeypatch):
    for module in [*sys.modules]:
        if module.partition(".")[0] == name:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    if name == "torchmetrics":
        monkeypatch.setitem(sys.modules, "torchmetrics.detection", None)
    with pytest.raises(FocusError, match=r"needs .*: pip install 'focusdd\[detect\]'"):
        train(data, Scenes(2), tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()


def test_ultralytics_leaves_other_packages_as_they_were():
    ultralytics()
    assert Image.open.__module__ == "PIL.Image"
    assert torch.save.__module__ == "torch.serialization"


def test_sizes_are_multiples_of_32():
    with pytest.raises(ValueError, match="multiple of 32"):
        DetectTrainSettings(size=100)
