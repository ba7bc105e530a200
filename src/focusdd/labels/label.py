"""The stage that attaches soft labels: asks the teacher once, writes `labels/` beside the images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from focusdd.composition.dataset import Distilled, card, open_distilled
from focusdd.core.console import Advance, progress, say
from focusdd.core.errors import FocusError
from focusdd.core.files import digest_of, make_folder, read_json, write_json, write_whole
from focusdd.core.lock import locked
from focusdd.core.manifest import CARD
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.execute import Work, Worker, run_shards
from focusdd.execute.remote import load_same, require_shared, require_there
from focusdd.labels.packed import pack
from focusdd.labels.render import render, resized_crops
from focusdd.labels.store import (
    Kind,
    Store,
    folder_of,
    image_digests,
    open_store,
    stored_kinds,
)
from focusdd.labels.tiles import tile_boxes
from focusdd.labels.views import Views, draw_views
from focusdd.models.checks import SAMPLE, refuse_near_chance, stratified
from focusdd.models.classes import matched_outputs
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import Model, load_model
from focusdd.models.precision import autocast
from focusdd.models.regions import Regions, has_regions
from focusdd.settings import AugmentSettings, EngineSettings, LabelSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve, settle
from focusdd.sources.base import Record
from focusdd.sources.pixels import load_files

VERSION = 2
_BATCH = 64  # images per forward pass; fixed, because the last digits of a logit depend on it


class Teacher(NamedTuple):
    """A model with its outputs in the order of the dataset's classes."""

    model: Model
    outputs: torch.Tensor

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """[0, 255] images (B, 3, S, S) -> float32 logits (B, C)."""
        batches = [self.model.logits(batch)[:, self.outputs] for batch in pixels.split(_BATCH)]
        return torch.cat(batches).cpu().numpy()

    @torch.inference_mode()
    def by_region(self, pixels: torch.Tensor, places: int) -> np.ndarray:
        """[0, 255] images (B, 3, S, S) -> float32 logits (B, 1 + places^2, C): the whole, then its places."""
        with autocast(self.model.device):
            whole, said = Regions(self.model.net)(self.model.prepare(pixels))
        each = F.adaptive_avg_pool2d(said, places).flatten(2).mT
        return torch.cat([whole[:, None], each], 1)[..., self.outputs].cpu().numpy()

    def require_places(self, places: int, size: int) -> None:
        """Raises FocusError unless the teacher's last feature map has so many places per side."""
        if not places:
            return
        most = 0
        if has_regions(self.model.net, size, self.model.device):
            with torch.inference_mode():
                _, said = Regions(self.model.net)(torch.zeros((1, 3, size, size), device=self.model.device))
            most = min(said.shape[2:])
        if places > most:
            who, use = f"teacher {self.model.name!r}", f"use --places {most}"
            if most:
                raise FocusError(
                    f"the last feature map of {who} has {most} x {most} places at {size} px: {use} or fewer"
                )
            raise FocusError(f"{who} has no feature map of several places at {size} px: {use}")


@with_keywords(settings=LabelSettings, engine=EngineSettings)
def label(
    distilled: Distilled | Path | str,
    settings: LabelSettings,
    *,
    overwrite: bool = False,
    engine: EngineSettings | None = None,
) -> tuple[Store, ...]:
    """Writes soft labels into a distilled dataset, in `labels/tiles`, `labels/views` or both.

    Args:
        engine: where the teacher is asked; default: here.

    Returns:
        What was written, opened.

    Raises:
        FocusError: the teacher does not know the classes or is near chance on the tiles, an image is damaged,
            or there are other labels already.
    """
    distilled = open_distilled(distilled)
    device = pick_device(settings.device)
    model = load_model(settings.teacher, device, settings.size)
    teacher = _teacher(model, distilled)
    top, classes = min(settings.top, len(distilled.classes)), len(distilled.classes)
    stored = "some classes" if top < classes else f"{top} classes, all of which are stored"
    settings = settings.model_copy(update={"top": top, "size": model.input_size})
    settings = settle(settings, stored=stored).settings
    if settings.kind != "tiles":
        teacher.require_places(settings.places, settings.size)
    files = distilled.files()
    pixels = load_files(files, distilled.info["size"])
    images = pixels.images.to(device)
    # before anything is written: a wrong teacher leaves no trace
    facts = _teacher_facts(teacher, images, pixels.labels.numpy(), distilled, settings)
    say(f"teacher {model.name}: {facts['accuracy']:.1%} top-1 on {facts['tiles']} tiles")
    kinds: tuple[Kind, ...] = ("tiles", "views") if settings.kind == "both" else (settings.kind,)
    paths = [path for path, _ in files]
    with locked(distilled.folder):  # which another `label` or `distill` may want to write to
        for kind in kinds:
            _label(kind, distilled, paths, images, teacher, facts, settings, stored, overwrite, engine)
        there = [read_json(folder_of(distilled, kind) / "labels.json") for kind in stored_kinds(distilled)]
        write_whole(distilled.folder / CARD, card(distilled.info, there))
    return tuple(open_store(distilled, kind) for kind in kinds)


def _teacher(model: Model, distilled: Distilled) -> Teacher:
    outputs = matched_outputs(model, distilled, "teacher")
    return Teacher(model, torch.as_tensor(outputs, device=model.device))


def _teacher_facts(
    teacher: Teacher, images: torch.Tensor, labels: np.ndarray, distilled: Distilled, settings: LabelSettings
) -> dict[str, Any]:
    """Who the teacher is, and its top-1 on the tiles of a stratified sample of the images."""
    grid = distilled.info["grid"]
    records = [Record(str(row), int(own)) for row, own in enumerate(labels)]
    rows = [int(record.key) for record in stratified(records, max(1, SAMPLE // grid**2))]
    logits = tile_logits(teacher, images[rows], grid, settings.size)[:, -(grid**2) :]
    predicted, own = logits.argmax(-1).ravel(), labels[rows].repeat(grid**2)
    who, where = f"teacher {teacher.model.name!r}", f"the tiles of {distilled.folder}"
    refuse_near_chance(predicted, own, len(distilled.classes), who, where, teacher.model, settings.anyway)
    return {
        "name": teacher.model.name,
        "weights": teacher.model.weights,
        "accuracy": round(float((predicted == own).mean()), 5),
        "tiles": len(own),
    }


def tile_logits(teacher: Teacher, images: torch.Tensor, grid: int, size: int) -> np.ndarray:
    """Logits (n, labels of `tile_boxes`, C) of images, each part filling the teacher's size x size view."""
    boxes = torch.tensor(tile_boxes(grid, images.shape[-1]), dtype=torch.float32)
    parts = [
        np.stack([teacher.logits(resized_crops(part, box.expand(len(part), 4), size)) for box in boxes], 1)
        for part in images.split(_BATCH)
    ]
    return np.concatenate(parts)


def view_logits(
    teacher: Teacher, images: torch.Tensor, views: Views, number: int, size: int, places: int = 0
) -> Iterator[np.ndarray]:
    """Logits of all images in the view with this number, a batch of images at a time.

    Each (n, C), with places (n, 1 + places^2, C): those of all images at once would fill memory.
    """
    for rows in torch.arange(len(images)).split(_BATCH):
        shown = render(images, rows, views.take(torch.full_like(rows, number)), size, images.device)
        yield teacher.by_region(shown, places) if places else teacher.logits(shown)


def _label(
    kind: Kind,
    distilled: Distilled,
    files: list[Path],
    images: torch.Tensor,
    teacher: Teacher,
    facts: dict[str, Any],
    settings: LabelSettings,
    stored: str,
    overwrite: bool,
    engine: EngineSettings | None,
) -> None:
    """One kind of labels: a stage of its own, so that the other can be added later."""
    grid, side = distilled.info["grid"], images.shape[-1]
    used = resolve(settings.model_copy(update={"kind": kind}), stored=stored).key
    recipe = {name: getattr(settings, name) for name in AugmentSettings.model_fields}
    inputs = {"distilled": distilled.info["key"], "teacher": teacher.model.weights}
    folder = folder_of(distilled, kind)
    names = ("images.npy", "labels.npy", *(["views.npy"] if kind == "views" else []))

    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["labels.json", *names])
        drawn = _drawn(settings, len(images), side, grid)
        if kind == "views":
            write_array(folder / "views.npy", drawn.records())
        write_array(folder / "images.npy", image_digests(files))
        parts = settings.views if kind == "views" else -(-len(images) // _BATCH)
        make_part = partial(_make, kind, images, teacher, settings, grid, drawn)
        name, weights = str(distilled.folder.absolute()), teacher.model.weights
        worker = _Worker(kind, name, folder.absolute(), work.key, settings, weights)
        if not (folder / "labels.npy").exists():
            with work.record.measure("label"):
                write_parts(folder, parts, make_part, f"label {kind}", worker, engine, settings.device)
        info = {
            "kind": kind,
            "key": work.key,
            "distilled": distilled.info["key"],
            "teacher": facts,
            **{name: used.get(name) for name in ("size", "top", "bits", "temperature")},
            "recipe": recipe if kind == "views" else None,
            "places": used.get("places", 0),
            "images": len(images),
            "grid": grid,
            "classes": list(distilled.classes),
            "files": {name: digest_of(folder / name) for name in names},
        }
        write_json(folder / "labels.json", info)
        work.record.note(device=device_name(images.device), images=len(images))
        return {"images": len(images), **({"views": settings.views} if kind == "views" else {})}

    run_stage(Stage("label", VERSION, used, inputs, scratch=("parts",)), folder, make, overwrite)


def _drawn(settings: LabelSettings, images: int, side: int, grid: int) -> Views:
    """The views of kind "views"."""
    generator = torch.Generator().manual_seed(settings.seed)
    return draw_views(settings.views, images, side, grid, settings, generator)


def _make(
    kind: Kind,
    images: torch.Tensor,
    teacher: Teacher,
    settings: LabelSettings,
    grid: int,
    drawn: Views,
    number: int,
) -> np.ndarray:
    """The labels of one part: of the tiles of some images, or of all images in one view."""
    packed = partial(pack, top=settings.top, bits=settings.bits, temperature=settings.temperature)
    if kind == "views":
        batches = view_logits(teacher, images, drawn, number, settings.size, settings.places)
        return np.concatenate([packed(logits) for logits in batches])[None]
    rows = np.array_split(np.arange(len(images)), -(-len(images) // _BATCH))
    return packed(tile_logits(teacher, images[rows[number]], grid, settings.size))


@dataclass(frozen=True)
class _Worker:
    """Asks the teacher in another process as `label` does in its own."""

    kind: Kind
    distilled: str
    out: Path
    key: str
    settings: LabelSettings
    weights: str

    def __call__(self) -> Work:
        require_shared(self.out, self.key)
        settings, distilled = self.settings, open_distilled(self.distilled)
        model = load_same(settings.teacher, self.weights, settings.device, settings.size)
        images = load_files(distilled.files(), distilled.info["size"]).images.to(model.device)
        grid, side, teacher = distilled.info["grid"], images.shape[-1], _teacher(model, distilled)
        drawn = _drawn(settings, len(images), side, grid)
        return partial(_work, self.out, partial(_make, self.kind, images, teacher, settings, grid, drawn))


def _work(folder: Path, make: Callable[[int], np.ndarray], numbers: Sequence[int], advance: Advance) -> None:
    for number in numbers:
        path = _part(folder, number)
        if not path.exists():
            write_array(path, make(number))
        advance(1, "")


def _part(folder: Path, number: int) -> Path:
    return folder / "parts" / f"part-{number:05d}.npy"


def write_parts(
    folder: Path,
    parts: int,
    make: Callable[[int], np.ndarray],
    what: str,
    worker: Worker | None = None,
    engine: EngineSettings | None = None,
    device: str = "cpu",
) -> None:
    """Writes labels.npy: what `make` gives for each part in turn, joined along the first axis.

    Each part is a file until all are there; those of an interrupted run are kept.
    """
    make_folder(folder / "parts")
    paths = [_part(folder, number) for number in range(parts)]
    pending = [number for number, path in enumerate(paths) if not path.exists()]
    with progress(what, parts, "parts", parts - len(pending)) as advance:
        work = partial(_work, folder, make)
        run_shards(pending, work, worker or (lambda: work), advance, engine, device)
    require_there(paths)
    # part by part: all labels together may be larger than memory
    write_whole(folder / "labels.npy", _joined([np.load(path, mmap_mode="r") for path in paths]))


def _joined(parts: list[np.ndarray]) -> Iterator[bytes]:
    """The .npy file of arrays joined along the first axis, piece by piece."""
    header = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(parts[0].dtype),
        "fortran_order": False,
        "shape": (sum(len(part) for part in parts), *parts[0].shape[1:]),
    }
    np.lib.format.write_array_header_1_0(header, described)
    yield header.getvalue()
    for part in parts:
        yield part.tobytes()


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file whole."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())
