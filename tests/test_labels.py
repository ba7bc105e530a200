"""Soft labels that travel with the dataset: the right distribution for the right pixels, or a refusal."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import softmax
from torch.utils.data import DataLoader

from focusdd import DistillSettings, FocusError, LabelSettings, TrainSettings, distill, label, publish, train
from focusdd.composition.dataset import open_distilled
from focusdd.core.manifest import renew
from focusdd.demo.run import WEIGHTS
from focusdd.labels import label as stage
from focusdd.labels.packed import pack, record_type, unpack
from focusdd.labels.reader import LabelledViews
from focusdd.labels.store import open_store
from focusdd.labels.tiles import compose, shares, tile_boxes, visible
from focusdd.labels.views import Views, draw_views, plain_view, show
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.load import load_model, new_net, normalisation, normalise
from focusdd.models.precision import autocast
from focusdd.models.regions import Regions, Whole, has_regions
from focusdd.settings import AugmentSettings
from focusdd.settings.resolve import resolve
from focusdd.sources import DemoSource
from focusdd.training.distances import divergence_of_logits
from focusdd.training.loop import turn
from focusdd.training.losses import stored_loss

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TEACHER = str(WEIGHTS / "teacher")
SETTINGS = LabelSettings(teacher=TEACHER, kind="both", size=64, views=3)
BY_REGION = LabelSettings(teacher=TEACHER, kind="views", size=64, views=3, places=2)
RECIPE = {"student": "test_resnet", "size": 64, "epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of four tiles, without labels."""
    out = tmp_path_factory.mktemp("labels") / "tiny"
    return distill(DemoSource(16), out, DistillSettings(method="view", ipc=2, grid=2, size=128)).folder


@pytest.fixture(scope="module")
def labelled(plain: Path) -> Path:
    """The same with both kinds of labels."""
    out = Path(shutil.copytree(plain, plain.with_name("labelled")))
    label(out, SETTINGS)
    return out


@pytest.fixture
def copy(labelled: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(labelled, tmp_path / "copy"))


def label_files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in (folder / "labels").rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in [*paths, folder / "README.md"]}


# what a view shows


recipes = st.builds(
    AugmentSettings,
    crop=st.floats(0.01, 1),
    tile_crops=st.sampled_from([0.0, 0.5, 1.0]),
    shuffle_tiles=st.booleans(),
    mixup=st.sampled_from([0.0, 0.5, 1.0]),
)


def painted(view: np.void, own: np.ndarray, other: np.ndarray, grid: int) -> np.ndarray:
    """The crop of a view in the slow and obvious way: canvases (side, side, ...) cut up and pasted."""
    side = len(own)

    def ordered(image: np.ndarray) -> np.ndarray:
        edges = [round(side * step / grid) for step in range(grid + 1)]
        canvas = image.copy()
        for cell, tile in enumerate(view["order"]):
            (y, x), (v, u) = divmod(cell, grid), divmod(int(tile), grid)
            canvas[edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = image[
                edges[v] : edges[v + 1], edges[u] : edges[u + 1]
            ]
        return canvas

    canvas, partner = ordered(own), ordered(other)
    x0, y0, x1, y1 = view["mix"]
    canvas[y0:y1, x0:x1] = partner[y0:y1, x0:x1]
    x0, y0, x1, y1 = view["crop"]
    canvas = canvas[y0:y1, x0:x1]
    return canvas[:, ::-1] if view["flip"] else canvas


@settings(max_examples=60, deadline=None)
@given(recipes, st.integers(1, 4), st.integers(16, 40), st.integers(0, 1000))
def test_tiles_are_weighted_by_the_pixels_that_show_them(
    recipe: AugmentSettings, grid: int, side: int, seed: int
) -> None:
    views = draw_views(4, 5, side, grid, resolve(recipe).settings, seed)
    boxes = tile_boxes(grid, side)[-(grid**2) :]
    numbers = np.zeros((side, side), int)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        numbers[y0:y1, x0:x1] = number
    own, other = visible(Views.of(views, CPU), grid, side)
    weights = shares(Views.of(views, CPU), grid, side)
    logits = np.random.default_rng(seed).normal(size=(2, 4, len(weights[0][0]), 3)).astype(np.float32)
    composed = compose(torch.from_numpy(logits[0]), torch.from_numpy(logits[1]), weights, 2.0)
    for row, view in enumerate(views):
        shown = painted(view, numbers, numbers + 100, grid)
        counts = np.bincount(shown.ravel(), minlength=100 + grid**2) / shown.size
        np.testing.assert_allclose(own[row], counts[: grid**2], atol=1e-6)
        np.testing.assert_allclose(other[row], counts[100 : 100 + grid**2], atol=1e-6)
        whole = shown.size / side**2 if grid > 1 else 0.0
        expected = np.zeros(3)
        for part, tiles in enumerate((counts[: grid**2], counts[100 : 100 + grid**2])):
            p = softmax(logits[part, row].astype(float) / 2, -1)
            expected += (1 - whole) * tiles @ p[-(grid**2) :] + whole * tiles.sum() * p[0]
        np.testing.assert_allclose(composed[row], expected, atol=1e-5)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_pixels_are_those_of_the_record(grid: int) -> None:
    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    views = draw_views(6, 5, 48, grid, AugmentSettings(tile_crops=0.3), seed=grid)
    rows = torch.tensor([4, 0, 3, 3, 1, 2])
    shown = show(images, rows, Views.of(views, CPU), 24)
    for row, view, pixels in zip(rows.tolist(), views, shown, strict=True):
        own, other = (images[i].permute(1, 2, 0).numpy() for i in (row, (row + view["shift"]) % 5))
        crop = Image.fromarray(np.ascontiguousarray(painted(view, own, other, grid)))
        expected = np.asarray(crop.resize((24, 24), Image.Resampling.BILINEAR), dtype=float)
        assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).max() < 1.5  # Pillow rounds twice


def test_views_are_those_of_the_recipe() -> None:
    views = draw_views(2000, 50, 64, 2, AugmentSettings(tile_crops=0.25, mixup=0.5, crop=0.5), seed=1)
    x0, y0, x1, y1 = views["crop"].astype(int).T
    area = (x1 - x0) * (y1 - y0) / 64**2
    assert np.mean(area <= 0.25) == pytest.approx(0.25, abs=0.04)
    assert np.mean(views["flip"]) == pytest.approx(0.5, abs=0.04)
    mixed = views["mix"].any(1)
    assert np.mean(mixed) == pytest.approx(0.5, abs=0.04)
    assert (views["mix"][mixed, :2] >= views["crop"][mixed, :2]).all()
    assert (views["mix"][mixed, 2:] <= views["crop"][mixed, 2:]).all()
    assert set(views["shift"]) == set(range(1, 50))
    still = draw_views(
        9, 1, 50, 3, AugmentSettings(tile_crops=1, flip=False, mixup=0, shuffle_tiles=False, crop=1), seed=1
    )
    assert not still["flip"].any()
    assert not still["mix"].any()
    assert not still["shift"].any()
    assert (still["order"] == np.arange(9)).all()
    whole = show(torch.full((1, 3, 50, 50), 7), torch.tensor([0]), Views.of(plain_view(50, 3), CPU), 20)
    assert (whole - 7).abs().max() < 1e-4


# logits in few bytes


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(1, 45),
    st.sampled_from([4, 8, 16]),
    st.floats(0.01, 30),
    st.integers(0, 99),
)
def test_packed_logits_are_off_by_half_a_level_at_most(
    classes: int, top: int, bits: int, spread: float, seed: int
) -> None:
    logits = (np.random.default_rng(seed).normal(size=(3, 2, classes)) * spread + 5).astype(np.float32)
    records = pack(logits, top, bits, 20.0)
    assert records.dtype == record_type(classes, top, bits)
    back = unpack(records, classes, top, bits)
    assert back.shape == logits.shape
    half = records["scale"].astype(float)[..., None] / (2**bits - 1) / 2
    for index in np.ndindex(3, 2):
        kept = np.argsort(-logits[index], kind="stable")[:top]
        rest = np.setdiff1d(np.arange(classes), kept)
        assert (back[index][rest] == 0).all()
        shift = logits[index].min()
        if len(rest):  # the rest keeps its joint probability, in proportion, at the temperature
            shift = 20 * np.log(np.exp(logits[index][rest].astype(float) / 20).mean())
        error = np.abs(back[index][kept] - (logits[index][kept] - shift))
        assert (error <= half[index] * 1.001 + 1e-4).all()


def test_equal_logits_are_a_uniform_label() -> None:
    for top in (2, 9):
        assert (unpack(pack(np.full((1, 5), 3.0), top, 8, 20.0), 5, top, 8) == 0).all()


def test_bytes_per_label() -> None:
    """The arithmetic of docs/labels.md."""
    assert record_type(1000, 32, 8).itemsize == 98
    assert record_type(1000, 16, 8).itemsize == 50
    assert record_type(1000, 16, 4).itemsize == 42
    assert record_type(10, 32, 8).itemsize == 12
    assert record_type(10, 32, 4).itemsize == 7
    full = 300 * 1000 * 2
    assert full / (5 * record_type(1000, 32, 8).itemsize) > 1000  # a 2 x 2 image has five labels
    assert full / (150 * record_type(1000, 32, 8).itemsize) > 40
    assert full / (300 * record_type(1000, 16, 8).itemsize) >= 40


# the stage


def test_stored_labels_are_what_the_teacher_says(labelled: Path) -> None:
    from focusdd.labels.augment import resized_crops

    distilled = open_distilled(labelled)
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(labelled, TrainSettings(labels="views", **RECIPE))
    views, tiles = open_store(distilled, "views"), open_store(distilled, "tiles")
    assert views.records.shape == (3, 20)
    assert tiles.records.shape == (20, 5)

    def agree(stored: np.ndarray, said: torch.Tensor) -> None:
        said = said - said.min(1, keepdim=True).values
        assert np.abs(stored - said.numpy()).max() < 0.51 * said.max() / 255 + 1e-3

    rows = torch.arange(20)
    for number in range(3):
        pixels, _ = data.batch(rows, torch.full_like(rows, number))
        agree(views.logits(number), teacher.logits(pixels))
    for part, box in enumerate([(0, 0, 128, 128), (0, 0, 64, 64), (64, 0, 128, 64)]):
        crops = resized_crops(data.pixels.images, torch.tensor([box] * 20).float(), 64)
        agree(tiles.logits(slice(None), part), teacher.logits(crops))
    assert tiles.info["teacher"]["weights"] == teacher.weights
    assert tiles.info["teacher"]["accuracy"] > 0.3
    assert views.bytes < 20 * 3 * 12 + 20 * 8 + 1500


def test_the_same_arguments_give_the_same_bytes(labelled: Path, plain: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(plain, tmp_path / "other"))
    label(other, SETTINGS.model_copy(update={"kind": "views"}))
    label(other, SETTINGS.model_copy(update={"kind": "tiles"}))  # one after the other
    assert label_files(other) == label_files(labelled)
    before = {path: path.stat().st_mtime_ns for path in (other / "labels").rglob("*.npy")}
    label(other, SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in (other / "labels").rglob("*.npy")} == before


def test_an_interrupted_stage_goes_on(
    labelled: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    real, calls = stage.view_logits, []

    def interrupted(*arguments: object) -> Iterator[np.ndarray]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stage, "view_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(out, SETTINGS)
    with pytest.raises(FocusError, match="views is unfinished: run the same `focusdd label` again"):
        LabelledViews(out, TrainSettings(labels="views", **RECIPE))
    label(out, SETTINGS)
    assert len(calls) == 4  # the two views that were there were not asked for again
    assert label_files(out) == label_files(labelled)


def test_a_teacher_near_chance_writes_nothing(plain: Path, tmp_path: Path) -> None:
    net, arguments = new_net("test_resnet", 10, 64, CPU, seed=1)
    source = DemoSource(1)
    save_checkpoint(tmp_path, net, source.classes, source.class_names, 64, arguments, {})
    with pytest.raises(FocusError, match=r"right, chance is 10\.0%"):
        label(plain, SETTINGS.model_copy(update={"teacher": str(tmp_path)}))
    assert not (plain / "labels").exists()


# what is refused


def replaced(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "labels" / "tiles" / name
        info = json.loads(path.read_text())
        change(info)
        path.write_text(json.dumps(info))
        renew(path.parent, name)

    return damage


def cut_short(folder: Path) -> None:
    path = folder / "labels" / "tiles" / "labels.npy"
    path.write_bytes(path.read_bytes()[:-7])


def repainted(folder: Path) -> None:
    Image.new("RGB", (128, 128)).save(sorted(folder.glob("train/*/*.jpg"))[3])


DAMAGE = {
    "another distilled dataset": replaced("labels.json", lambda info: info.update(distilled="0" * 16)),
    "in another order": replaced("labels.json", lambda info: info["classes"].reverse()),
    r"labels\.npy is changed or cut short: run the same `focusdd label` again": cut_short,
    r"\.jpg is changed or cut short: run the same `focusdd distill` again": repainted,
    "not a folder of stored labels: make one with `focusdd label": lambda folder: shutil.rmtree(
        folder / "labels"
    ),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_labels_that_do_not_belong_are_refused(copy: Path, tmp_path: Path, said: str) -> None:
    DAMAGE[said](copy)
    with pytest.raises(FocusError, match=said) as error:
        train(copy, DemoSource(16, "val"), tmp_path / "out", TrainSettings(labels="tiles", **RECIPE))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "result.json").exists()


def test_views_are_for_one_recipe(labelled: Path) -> None:
    with pytest.raises(FocusError, match=r"crop was 0\.5, now 0\.2"):
        LabelledViews(labelled, TrainSettings(labels="views", **RECIPE | {"crop": 0.2}))
    with pytest.raises(FocusError, match="size was 64, now 32"):
        LabelledViews(labelled, TrainSettings(labels="stored", **RECIPE | {"size": 32}))
    LabelledViews(labelled, TrainSettings(labels="tiles", **RECIPE | {"size": 32, "crop": 0.2}))


@pytest.mark.parametrize("other", [{"mix": "mixup"}, {"loss": "mse"}, {"hard_weight": 0.1}])
def test_stored_labels_are_learnt_in_one_way(labelled: Path, tmp_path: Path, other: dict) -> None:
    name = next(iter(other)).replace("_", "-")
    settings = TrainSettings(labels="stored", **RECIPE, **other)
    with pytest.raises(FocusError, match=f"only be learnt with --{name}"):
        train(labelled, DemoSource(20, "val"), tmp_path / "student", settings)
    assert not (tmp_path / "student").exists()


def test_labels_of_other_settings_are_not_overwritten(copy: Path) -> None:
    other = SETTINGS.model_copy(update={"kind": "tiles", "bits": 4})
    with pytest.raises(FocusError, match="bits was 8, now 4"):
        label(copy, other)
    (store,) = label(copy, other, overwrite=True)
    assert store.info["bits"] == 4


# training


@pytest.mark.parametrize("kind", ["stored", "tiles"])
def test_training_needs_no_teacher(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def no_teacher(*_: object) -> None:
        raise AssertionError("a teacher was loaded")

    monkeypatch.setattr("focusdd.training.train.load_model", no_teacher)
    val = DemoSource(16, "val")
    settings = TrainSettings(labels=kind, **RECIPE)
    results = [train(labelled, val, tmp_path / name, settings) for name in ("one", "two")]
    assert results[0] == results[1]
    assert results[0]["teacher"]["name"] == TEACHER
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("kind", ["views", "tiles"])
def test_items_are_those_of_a_batch_in_any_order(labelled: Path, kind: str) -> None:
    data = LabelledViews(labelled, TrainSettings(labels=kind, **RECIPE | {"epochs": 4}))
    assert len(data) == 20 * (3 if kind == "views" else 4)
    items = [41, 0, 59, 7, 20]
    pixels, target = data.batch(torch.tensor(items) % 20, torch.tensor(items) // 20)
    for number, item in enumerate(items):
        image, distribution = data[item]
        torch.testing.assert_close(image * 255, pixels[number], atol=1e-3, rtol=0)
        torch.testing.assert_close(distribution, target[number])
        assert distribution.sum().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(IndexError):
        data[len(data)]
    torch.testing.assert_close(data[-1][0], data[len(data) - 1][0])
    seen = 0
    for images, targets in DataLoader(data, batch_size=7, shuffle=True):
        assert images.shape[1:] == (3, 64, 64)
        assert 0 <= images.min() <= images.max() <= 1
        assert len(images) == len(targets)
        seen += len(images)
    assert seen == len(data)


def test_a_composed_label_is_near_the_teachers(labelled: Path) -> None:
    """Composed from tiles, a label is far nearer to what the teacher says of the view than nothing is."""
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(labelled, TrainSettings(labels="tiles", **RECIPE | {"epochs": 5, "mixup": 0.0}))
    pixels, target = data.batch(torch.arange(100) % 20, torch.arange(100) // 20)
    said = (teacher.logits(pixels) / 20).softmax(1)
    far = (said * (said * 10).log()).sum(1).mean()
    near = (said * (said / target).log()).sum(1).mean()
    assert near < 0.4 * far


# by region


@pytest.fixture(scope="module")
def by_region(plain: Path) -> Path:
    """Views with a label for each of 2 x 2 places."""
    out = Path(shutil.copytree(plain, plain.with_name("by-region")))
    label(out, BY_REGION)
    return out


def test_labels_of_places_are_what_the_teacher_says_of_them(by_region: Path) -> None:
    teacher = load_model(TEACHER, CPU, 64)
    data = LabelledViews(by_region, TrainSettings(labels="stored", **RECIPE))
    assert data.store.records.shape == (3, 20, 5) and data.store.places == 2
    assert data.settings.tile_crops == 0.5  # as with a teacher at hand
    rows = torch.arange(20)
    for number in range(3):
        numbers = torch.full_like(rows, number)
        pixels, (whole, places) = data.batch(rows, numbers, by_region=True)
        with torch.inference_mode(), autocast(CPU):
            said, said_there = Regions(teacher.net)(teacher.prepare(pixels))
        assert places.shape == said_there.shape == (20, 10, 2, 2)
        for stored, heard in ((whole, said), *zip(places.unbind(3), said_there.unbind(3), strict=True)):
            heard = heard - heard.amin(1, keepdim=True)
            assert (stored - heard).abs().max() < 0.51 * heard.max() / 255 + 1e-3
        same, distribution = data.batch(rows, numbers)
        torch.testing.assert_close(distribution, (whole / 20).softmax(1))
        torch.testing.assert_close(same, pixels)
    assert data[7][1].shape == (10,)  # for anyone's training: a distribution of the whole view


@pytest.mark.parametrize(("size", "student"), [(64, "test_resnet"), (64, "test_vit")])
def test_the_loss_of_stored_labels_is_that_of_every_place(by_region: Path, size: int, student: str) -> None:
    """Against one place after another; a student without places learns the whole."""
    net, _ = new_net(student, 10, size, CPU, 0)
    recipe = TrainSettings(labels="stored", **RECIPE | {"student": student}, regions=0.3)
    data = LabelledViews(by_region, recipe)
    knows = has_regions(net, size, CPU)
    settled = recipe.model_copy(update={"regions": 0.3 if knows else 0.0})
    net.eval()  # the same batch statistics for both ways
    rows = torch.tensor([3, 19, 0, 7])
    found = stored_loss(net, data, settled, CPU)(rows, torch.Generator().manual_seed(1))
    numbers = (rows + turn(torch.Generator().manual_seed(1))) % 3
    pixels, (whole, places) = data.batch(rows, numbers, by_region=True)
    with autocast(CPU):
        mine = (Regions if knows else Whole)(net)(normalise(pixels, *normalisation(net)))
    expected = divergence_of_logits(mine[0], whole, 20.0)
    if knows:
        assert mine[1].shape == places.shape
        each = [
            divergence_of_logits(mine[1][..., row, column], places[..., row, column], 20.0)
            for row in range(2)
            for column in range(2)
        ]
        expected = 0.7 * expected + 0.3 * sum(each) / 4
    torch.testing.assert_close(found, expected)


def test_a_student_is_taught_by_region_where_labels_and_student_know_them(
    by_region: Path, labelled: Path, tmp_path: Path
) -> None:
    val = DemoSource(16, "val")

    def taught(folder: Path, name: str, **changes: object) -> bool:
        settings = TrainSettings(labels="stored", **RECIPE | changes)
        return train(folder, val, tmp_path / name, settings)["taught"]["by_region"]

    assert taught(by_region, "one")
    assert not taught(by_region, "two", regions=0.0)
    assert not taught(by_region, "three", student="test_vit")
    assert not taught(labelled, "four")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] != weights[1]
    with pytest.raises(FocusError, match=r"regions was 1\.0, now 0\.0"):
        taught(by_region, "one", regions=0.0)
    assert not taught(labelled, "four", regions=0.0)  # the same run: complete


def test_labels_of_many_images_are_in_their_order(
    by_region: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for in batches, which the last digits depend on."""
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    monkeypatch.setattr(stage, "_BATCH", 8)
    label(out, BY_REGION)
    many, once = (open_store(open_distilled(folder), "views") for folder in (out, by_region))
    assert many.records.shape == once.records.shape == (3, 20, 5)
    rows = np.arange(20)
    for number in range(3):
        one, other = (store.logits(np.full(20, number), rows) for store in (many, once))
        assert np.abs(one - other).max() < 0.05 * np.abs(other).max()


def test_places_are_for_labels_that_know_them(
    labelled: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = LabelledViews(labelled, TrainSettings(labels="views", **RECIPE))
    with pytest.raises(FocusError, match="know no places: label with --places"):
        data.batch(torch.arange(4), torch.zeros(4, dtype=torch.long), by_region=True)
    out = Path(shutil.copytree(plain, tmp_path / "tiles"))
    label(out, BY_REGION.model_copy(update={"kind": "tiles"}))
    assert "--places is not used" in capsys.readouterr().out


def test_places_that_the_teacher_does_not_have_are_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(FocusError, match="has 2 x 2 places at 64 px: use --places 2 or fewer"):
        label(plain, BY_REGION.model_copy(update={"places": 3}))
    blind = BY_REGION.model_copy(update={"teacher": str(WEIGHTS / "vit")})
    with pytest.raises(FocusError, match=r"no feature map of several places at 64 px: use --places 0$"):
        label(plain, blind)
    assert not (plain / "labels").exists()
    label(Path(shutil.copytree(plain, tmp_path / "tiles")), blind.model_copy(update={"kind": "tiles"}))


def test_the_card_and_publishing_know_places(by_region: Path) -> None:
    assert "in 2 x 2 places" in (by_region / "README.md").read_text()
    publish(by_region)


# read by others


def test_the_reader_in_the_documents_reads_what_we_read(labelled: Path, by_region: Path, copy: Path) -> None:

    code = re.search(r"```python\n(import json.*?)```", (ROOT / "docs" / "labels.md").read_text(), re.S)[1]
    found: dict = {}
    exec(code, found)
    views, tiles = (open_store(open_distilled(labelled), kind) for kind in ("views", "tiles"))
    np.testing.assert_array_equal(found["read"](views.folder, 2, 7), views.logits(2, 7))
    np.testing.assert_array_equal(found["read"](tiles.folder, 4), tiles.logits(4))
    placed = open_store(open_distilled(by_region), "views")
    np.testing.assert_array_equal(found["read"](placed.folder, 2, 7), placed.logits(2, 7))
    np.testing.assert_array_equal(found["read"](tiles.folder, slice(None), 0), tiles.logits(slice(None), 0))
    for bits, top in ((4, 32), (4, 3), (8, 5), (16, 5)):
        changed = SETTINGS.model_copy(update={"kind": "tiles", "bits": bits, "top": top})
        (store,) = label(copy, changed, overwrite=True)
        np.testing.assert_allclose(found["read"](store.folder, 4), store.logits(4), rtol=1e-6)


def test_publishing_looks_before_it_sends(copy: Path) -> None:
    before = label_files(copy), (copy / "train" / "metadata.jsonl").read_bytes()
    made = publish(copy)
    assert made.url is None
    assert {"image", "label", "tiles", "soft_labels"} <= set(made.columns)
    assert made.files > 30
    card = (copy / "README.md").read_text()
    assert "license: other" in card
    assert card.count(f"Teacher: `{TEACHER}`") == card.count("at 8 bits, for any temperature") == 2
    assert before == (label_files(copy), (copy / "train" / "metadata.jsonl").read_bytes())
    assert not list(copy.parent.glob(".publish-*"))
    with pytest.raises(FocusError, match="without --to nothing is sent"):
        publish(copy, "nobody/nothing")
    shutil.copy(sorted(copy.glob("train/*/*.jpg"))[0], sorted(copy.glob("train/*/*.jpg"))[1])
    with pytest.raises(FocusError, match="is changed or cut short"):
        publish(copy)


def test_what_is_uploaded_loads_with_its_labels(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    sent = tmp_path / "sent"

    class Hub:
        def create_repo(self, *_: object, **__: object) -> None: ...

        def upload_folder(self, folder_path: Path, **_: object) -> None:
            shutil.copytree(folder_path, sent)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert publish(labelled, "me/tiny").url == "https://huggingface.co/datasets/me/tiny"
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(sent), cache_dir=str(tmp_path / "cache"), split="train"
    )
    tiles = open_store(open_distilled(labelled), "tiles")
    names = [path.name for path, _ in open_distilled(labelled).files()]
    for row in loaded.cast_column("image", datasets.Image(decode=False)):
        stored = tiles.logits(names.index(Path(row["image"]["path"]).name))
        assert [one["classes"] for one in row["soft_labels"]] == [list(range(10))] * 5
        np.testing.assert_allclose([one["logits"] for one in row["soft_labels"]], stored, atol=6e-4)
    LabelledViews(sent, TrainSettings(labels="stored", **RECIPE))  # a download is a distilled dataset
