"""`compare`: every combination once, resumed from what is there; coresets, recipes and ConvNet-5."""

import csv
import hashlib
import itertools
import json
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import focusdd.tasks.classify.trials as trials
from focusdd import (
    CompareSettings,
    DistillSettings,
    FocusError,
    TrainSettings,
    compare,
    detect,
    distill,
    status,
)
from focusdd.demo.run import WEIGHTS
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.load import load_model, new_net
from focusdd.reports.page import report
from focusdd.selection.coresets import herd, k_center
from focusdd.sources import DemoSource
from focusdd.sources.pixels import DecodedOnce, load_source
from focusdd.tasks.classify.trials import SCHEMA
from focusdd.training.train import train, train_on_source

TEACHER, VIT = str(WEIGHTS / "teacher"), str(WEIGHTS / "vit")
SOURCE, VAL = DemoSource(12), DemoSource(12, "val")
TINY = {
    "teacher": TEACHER,
    "extractor": VIT,
    "students": ("test_resnet",),
    "seeds": 2,
    "ipc": (1,),
    "distill": DistillSettings(size=64, keep=0),
    "train": TrainSettings(size=32, epochs=2, batch_size=10),
}


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file of finished stages."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for stage in folder.rglob("done.json")
        for path in stage.parent.rglob("*")
        if path.is_file()
    }


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """An interrupted comparison: the third student never came."""
    out = tmp_path_factory.mktemp("compare")
    settings = CompareSettings(
        **TINY, methods=("focus", "full"), labels=("soft", "hard"), plain=True, corruptions=True
    )
    real, calls = trials.train, itertools.count()

    def fails(*args, **kwargs):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    trials.train = fails
    try:
        with pytest.raises(KeyboardInterrupt):
            compare(SOURCE, VAL, out, settings, other=DemoSource(8, "val"))
    finally:
        trials.train = real
    before = digests(out)
    part = rows_of(out)
    table = compare(SOURCE, VAL, out, settings, other=DemoSource(8, "val"))
    return out, settings, table, part, before


def test_interrupted_work_is_found_again(compared):
    out, settings, table, part, before = compared
    assert len(part) == 3
    after = digests(out)
    assert {name: after[name] for name in before} == before
    assert rows_of(out)[:3] == part
    done = rows_of(out)
    again = compare(SOURCE, VAL, out, settings, other=DemoSource(8, "val"))
    assert digests(out) == after
    assert again.equals(table)
    assert rows_of(out) == done


def test_a_row_for_every_run(compared):
    out, _, table, _, _ = compared
    runs = set(zip(*(table.column(n).to_pylist() for n in SCHEMA.names[:6]), strict=True))
    assert runs == {
        *itertools.product(
            ("focus", "random"), [1], (0, 1), ["test_resnet"], ("soft", "hard"), (True, False)
        ),
        *itertools.product(["full"], [12], (0, 1), ["test_resnet"], ("soft", "hard"), [True]),
    }
    assert len(table) == len(runs)
    written = rows_of(out)
    assert list(written[0]) == SCHEMA.names
    for row in table.to_pylist():
        assert 0 <= row["top1"] <= row["top5"] <= 1
        assert 0 <= row["corrupted_top1"] <= 1 and 0 <= row["other_top1"] <= 1
        assert row["corrupted_top1"] == pytest.approx(
            sum(row[f"{name}_top1"] for name in ("noise", "blur", "contrast", "jpeg", "pixelate")) / 5,
            abs=1e-4,
        )
        assert (row["teacher_top1"] is not None) == (row["labels"] == "soft")
        assert (row["seconds_extract"] is not None) == (row["method"] == "focus")
        assert (row["seconds_distil"] is None) == (row["method"] == "full")
        assert (row["lr"], row["weight_decay"]) == (2e-3, 0.01)
        assert row["temperature"] == (20 if row["labels"] == "soft" else None)
        assert row["tile_crops"] == (1 if row["augmented"] else None)
        assert row["dense"] is False  # at this size the last map is one place
        assert row["machine"] and row["date"] and torch.__version__.startswith(row["torch"])
    assert [row["top1"] for row in written] == [str(top1) for top1 in table.column("top1").to_pylist()]


@pytest.mark.parametrize(
    ("comparing", "settings", "student"),
    [
        (compare, {"labels": "hard", "students": ["test_resnet"], "corruptions": True}, "students"),
        (detect.compare, {}, "detectors"),
    ],
    ids=["classify", "detect"],
)
def test_what_an_interrupted_comparison_has_not_begun_is_known(
    tmp_path, monkeypatch, comparing, settings, student
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("focusdd.comparison.compare._run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        comparing(
            "demo:3", "demo:3", tmp_path, methods=["random"], ipc=[1], seeds=2, distill={"size": 64},
            **{name: [value] if name == "labels" else value for name, value in settings.items()},
        )  # fmt: skip
    found = Counter((line.path.parent.name, line.state) for line in status(tmp_path))
    wanted = {("distilled", "done"): 2, (student, "not begun"): 2}
    if "corruptions" in settings:
        wanted["robustness", "not begun"] = 2
    assert found == wanted


def test_an_index_to_be_made_is_known_too(tmp_path, monkeypatch):
    def interrupted(_, out, *__, **___):
        out.mkdir()
        (out / "stage.json").write_text('{"focusdd": "1", "stage": "extract", "key": "k"}')
        raise KeyboardInterrupt

    monkeypatch.setattr("focusdd.comparison.compare.extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare("demo:3", "demo:3", tmp_path, methods=["focus"], ipc=[1], labels=["hard"], seeds=1)
    states = {line.path.relative_to(tmp_path).as_posix(): line.state for line in status(tmp_path)}
    assert states == {
        "index": "unfinished",
        **dict.fromkeys(["distilled/focus-ipc1-seed0", "distilled/random-ipc1-seed0"], "not begun"),
        **{f"students/{method}-ipc1-resnet18-hard-seed0": "not begun" for method in ("focus", "random")},
    }


def test_scores_and_page_follow(compared):
    out, *_ = compared
    with (out / "scores.csv").open() as file:
        [focus] = csv.DictReader(file)
    assert (focus["method"], focus["seeds"]) == ("focus", "2")
    assert all(focus[name] for name in ("hlr", "ior_soft", "ior_hard", "lrs", "ars", "lrs_std"))
    assert not focus["over_rded"]
    page = report(out).read_text()
    for word in ("Top-1, corrupted", "Beyond the labels", "not augmented", "full"):
        assert word in page


def test_full_takes_as_many_steps_in_whole_passes(compared):
    """10 images x 2 epochs in batches of 10 are 2 steps; 120 images have 12 in one pass."""
    out, _, table, _, _ = compared
    epochs = {row["method"]: row["epochs"] for row in table.to_pylist()}
    assert epochs == {"focus": 2, "random": 2, "full": 1}
    result = json.loads((out / "students/full-1passes-test_resnet-hard-seed0/result.json").read_text())
    assert result["distilled"] == {
        "key": SOURCE.fingerprint,
        "method": "full",
        "ipc": 12,
        "size": 64,
        "grid": 1,
        "seed": 0,
    }


def test_datasets_that_no_seed_changes_are_made_once(compared):
    out, *_ = compared
    assert {path.name for path in (out / "distilled").iterdir()} == {
        "focus-ipc1",
        "random-ipc1-seed0",
        "random-ipc1-seed1",
    }


def test_a_comparison_grows(compared):
    """Another method and no corruptions: nothing that is there is made again, and its rows are the same."""
    out, settings, table, _, _ = compared
    before = digests(out)
    wider = settings.model_copy(update={"methods": ("herding", "k-center"), "labels": ("hard",), "seeds": 1,
                                        "plain": False})  # fmt: skip
    grown = compare(SOURCE, VAL, out, wider, other=DemoSource(8, "val"))
    assert grown.column("method").to_pylist() == ["herding", "k-center", "random"]
    after = digests(out)
    assert {name: after[name] for name in before} == before
    random = [row for row in table.to_pylist() if row["method"] == "random" and row["labels"] == "hard"]
    assert grown.to_pylist()[2] == next(row for row in random if row["augmented"] and row["seed"] == 0)


class Counted(DemoSource):
    """Counts how often every image is read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.reads: dict[str, int] = {}

    def read(self, key):
        self.reads[key] = self.reads.get(key, 0) + 1
        return super().read(key)


def test_validation_images_are_decoded_once_for_all_students(tmp_path):
    val = Counted(12, "val")
    settings = CompareSettings(
        methods=("random",),
        ipc=(1,),
        students=("test_resnet", "test_vit"),
        labels=("hard",),
        seeds=1,
        corruptions=True,
        distill=DistillSettings(size=64),
        train=TrainSettings(size=32, epochs=1, batch_size=10),
    )
    compare(SOURCE, val, tmp_path, settings)
    assert val.reads == {record.key: 1 for record in val.records}


def test_a_lost_record_of_costs_leaves_them_open(tmp_path, capsys):
    settings = CompareSettings(
        methods=("random",), ipc=(1,), students=("test_resnet",), labels=("hard",), seeds=2,
        distill=DistillSettings(size=32), train=TrainSettings(size=32, epochs=1, batch_size=10),
    )  # fmt: skip
    rows = compare(SOURCE, VAL, tmp_path, settings).to_pylist()
    (student, _), (dataset, _) = (sorted((tmp_path / kind).iterdir()) for kind in ("students", "distilled"))
    (student / "run.json").unlink()
    (dataset / "run.json").write_text("{")
    capsys.readouterr()
    again = compare(SOURCE, VAL, tmp_path, settings).to_pylist()
    said = capsys.readouterr().out
    for folder in (student, dataset):
        assert said.count(f"{folder / 'run.json'} is missing or damaged") == 1
        assert f"remove {folder} and run the same again" in said
    assert again[0]["seconds_train"] is again[0]["seconds_distil"] is again[0]["machine"] is None
    assert {name: again[0][name] for name in ("method", "top1", "lr")} == {
        name: rows[0][name] for name in ("method", "top1", "lr")
    }
    assert again[1] == rows[1] and report(tmp_path).exists()


def test_decoded_images_of_one_size_are_kept_and_no_others():
    once = DecodedOnce(VAL)
    first = load_source(once, 32, "read")
    assert load_source(once, 32, "read") is first
    assert torch.equal(first.images, load_source(VAL, 32, "read").images)
    kept = weakref.ref(first)
    del first
    assert load_source(once, 16, "read").images.shape[-1] == 16
    assert kept() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": ""}, "give teacher="),
        ({"extractor": ""}, "a model has no name: give a checkpoint folder"),
        ({"train": TrainSettings(seed=3)}, "train.seed is what is compared: use seeds="),
        ({"distill": DistillSettings(ipc=3)}, "distill.ipc is what is compared: use ipc="),
    ],
)
def test_mistakes_are_named_before_anything_is_made(changes, said, tmp_path):
    with pytest.raises(FocusError, match=said):
        compare(SOURCE, VAL, tmp_path / "out", CompareSettings(**(TINY | changes)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("classes", "said"),
    [(["apple", "pear"], "does not know"), (SOURCE.classes, "chance")],
)
def test_a_teacher_that_cannot_teach_is_refused_before_anything_is_made(classes, said, tmp_path):
    net, arguments = new_net("test_resnet", len(classes), 32, torch.device("cpu"), 0)
    (tmp_path / "teacher").mkdir()
    save_checkpoint(tmp_path / "teacher", net, classes, classes, 32, arguments, {})
    settings = CompareSettings(**(TINY | {"teacher": str(tmp_path / "teacher")}))
    with pytest.raises(FocusError, match=said):
        compare(SOURCE, VAL, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_images_are_distilled_at_the_size_that_students_see(tmp_path):
    settings = CompareSettings(
        methods=("random",), ipc=(1,), students=("test_resnet",), labels=("hard",), seeds=1,
        train=TrainSettings(size=32, epochs=1, batch_size=10),
    )  # fmt: skip
    compare(SOURCE, VAL, tmp_path, settings)
    distilled = tmp_path / "distilled" / "random-ipc1-seed0" / "distilled.json"
    assert json.loads(distilled.read_text())["size"] == 32


def test_a_method_that_falls_short_is_refused_before_the_long_pass(tmp_path):
    """At 128 px not all objects have 30 px, and whole images without a labelled object are not taken."""
    settings = {"methods": ("focus",), "ratio": (0.8,), "seeds": 1, "extractor": VIT, "device": "cpu",
                "distill": {"size": 128, "min_size": 30}}  # fmt: skip
    with pytest.raises(FocusError, match=r"method random makes \d+ of 24 images .* ratio=0.8: use a"):
        detect.compare("demo:3", "demo:3", tmp_path / "out", **settings)
    assert not (tmp_path / "out" / "index").exists() and not (tmp_path / "out" / "detectors").exists()


def test_a_changed_setting_stops_and_keeps_what_is_there(compared):
    out, settings, *_ = compared
    before = digests(out)
    changed = settings.model_copy(update={"train": TrainSettings(size=32, epochs=3, batch_size=10)})
    with pytest.raises(FocusError, match="epochs was 2, now 3"):
        compare(SOURCE, VAL, out, changed)
    assert digests(out) == before


# coresets: against the definition, row by row


def features(seed: int, n: int = 25, d: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + np.arange(d)


@pytest.mark.parametrize("seed", range(5))
def test_herding_follows_the_mean(seed):
    x = features(seed)
    chosen: list[int] = []
    for _ in range(7):
        free = [row for row in range(len(x)) if row not in chosen]
        chosen.append(min(free, key=lambda row: np.linalg.norm(x.mean(0) - x[[*chosen, row]].mean(0))))
    rows, distances = herd(x, 7)
    assert rows == chosen
    assert distances[-1] == pytest.approx(np.linalg.norm(x.mean(0) - x[chosen].mean(0)))
    assert herd(x, 3)[0] == chosen[:3]
    assert sorted(herd(x, 99)[0]) == list(range(len(x)))


@pytest.mark.parametrize("seed", range(5))
def test_k_center_takes_the_farthest(seed):
    x = features(seed)
    chosen = [min(range(len(x)), key=lambda row: np.linalg.norm(x[row] - x.mean(0)))]

    def away(row: int) -> float:
        return min(np.linalg.norm(x[row] - x[centre]) for centre in chosen)

    while len(chosen) < 7:
        chosen.append(max(range(len(x)), key=away))
    rows, radii = k_center(x, 7)
    assert rows == chosen
    assert radii[-1] == pytest.approx(max(map(away, range(len(x)))))
    assert sorted(k_center(x, 99)[0]) == list(range(len(x)))


def test_equal_features_are_still_different_images():
    same = np.ones((5, 3))
    assert sorted(herd(same, 5)[0]) == sorted(k_center(same, 5)[0]) == list(range(5))


@pytest.mark.parametrize("method", ["herding", "k-center"])
def test_coresets_fill_the_plan_of_random(method, make_index, image_folder, tmp_path):
    from focusdd.sources import open_source

    source = open_source(image_folder(classes=("bee", "cow"), per_class=6))
    index = make_index({"bee": 6, "cow": 2}, sizes=(40, 30), fingerprint=source.fingerprint)
    settings = DistillSettings(method=method, ipc=3, size=32)
    made = distill(source, tmp_path / "d", settings, index=index)
    plan = made.plan()
    assert plan.grid == 1 and len(plan.tiles) == 6
    assert {(tile.kind, tile.box) for tile in plan.tiles} == {("whole", (0.0, 0.0, 40.0, 30.0))}
    assert len({tile.key for tile in plan.tiles if tile.label == 0}) == 3
    assert made.info["short_classes"] == ["cow"]
    assert "seed" not in made.info["settings"] and made.info["index"]
    assert "Features by `none`" in (made.folder / "README.md").read_text()


# students


STUDENTS = ("convnet5", "resnet18", "mobilenetv2_100", "efficientnet_b0", "deit_tiny_patch16_224")
LARGE = ("resnet50", "resnet101", "swin_tiny_patch4_window7_224", "convnext_tiny")


@pytest.mark.parametrize("student", [*STUDENTS, *LARGE])
def test_listed_students_take_other_sizes(student):
    net, _ = new_net(student, 10, 64, torch.device("cpu"), 0)
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_convnet5_is_a_checkpoint_like_any_other(tmp_path):
    net, arguments = new_net("convnet5", 3, 64, torch.device("cpu"), 0)
    names = ("a", "b", "c")
    save_checkpoint(tmp_path, net, names, names, 64, arguments, {})
    model = load_model(str(tmp_path), torch.device("cpu"))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert model.classes == names and model.input_size == 64
    with torch.inference_mode():
        assert torch.equal(model.net(model.prepare(pixels)), net.eval()(model.prepare(pixels)))
    parts = [type(part).__name__ for part in net.features]
    assert parts == ["Conv2d", "GroupNorm", "ReLU", "AvgPool2d"] * 5
    with pytest.raises(FocusError, match="at least 32 px"):
        new_net("convnet5", 3, 16, torch.device("cpu"), 0)


def test_keys_of_students_say_what_changes_them(tmp_path):
    """The family's rates are in the key as if they had been given; augmentation's settings, if it is on."""
    made = distill(SOURCE, tmp_path / "d", DistillSettings(method="random", ipc=1, size=64))

    def key(name, **changes):
        settings = TrainSettings(student="test_resnet", labels="hard", size=32, epochs=1, **changes)
        train(made, VAL, tmp_path / name, settings)
        return json.loads((tmp_path / name / "done.json").read_text())["key"]

    usual = key("usual")
    assert key("given", lr=2e-3, weight_decay=0.01) == usual
    assert key("other", lr=1e-3) != usual
    plain = key("plain", augment=False)
    assert plain != usual
    assert key("plain-mixup", augment=False, mix_prob=0.5) == plain
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "plain-mixup")]
    assert weights[0] == weights[1]


def test_every_part_of_the_recipe_changes_the_student(tmp_path):
    made = distill(SOURCE, tmp_path / "d", DistillSettings(method="random", ipc=1, size=64))

    def weights(name, **changes):
        recipe = {"student": "test_resnet", "teacher": TEACHER, "size": 32, "epochs": 2}
        train(made, VAL, tmp_path / name, TrainSettings(**recipe | changes))
        return (tmp_path / name / "model.safetensors").read_bytes()

    changes = [
        {},
        {"loss": "mse"},
        {"mix": "mixup"},
        {"hard_weight": 0.5},
        {"ema": 0.5},
        {"temperature": 2.0},
    ]
    assert len({weights(f"{number}", **change) for number, change in enumerate(changes)}) == len(changes)


def test_a_source_with_other_classes_is_refused(tmp_path):
    val = DemoSource(12, "val")
    val.classes = tuple(f"other-{name}" for name in val.classes)
    with pytest.raises(FocusError, match="other classes"):
        train_on_source(SOURCE, val, tmp_path / "x", TrainSettings(labels="hard"))
    with pytest.raises(FocusError, match="other classes"):
        compare(SOURCE, VAL, tmp_path / "y", CompareSettings(**TINY, labels=("hard",)), other=val)
    assert not (tmp_path / "y").exists()
