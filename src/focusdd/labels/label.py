"""The stage that attaches soft labels: asks the teacher once, writes `labels/` beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focusdd.composition.dataset import Distilled, card, open_distilled, own_cards
from focusdd.core.console import Advance, say
from focusdd.core.errors import FocusError
from focusdd.core.files import digest_of, make_folder, read_json, write_json, write_whole
from focusdd.core.lock import locked
from focusdd.core.manifest import CARD
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.execute import Work, make_missing
from focusdd.execute.remote import load_same, require_shared
from focusdd.labels.arrays import write_array, write_joined
from focusdd.labels.packed import pack
from focusdd.labels.store import Kind, Store, folder_of, image_digests, open_store, stored_kinds
from focusdd.labels.teacher import BATCH, Teacher, teacher_facts, tile_logits, view_logits
from focusdd.labels.views import Views, draw_views
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import load_model
from focusdd.settings import AugmentSettings, EngineSettings, LabelSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve, resolve_and_warn
from focusdd.sources.pixels import load_files

VERSION = 2


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
    distilled, engine = open_distilled(distilled), resolve_and_warn(engine or EngineSettings()).settings
    model = load_model(settings.teacher, pick_device(settings.device), settings.size)
    teacher = Teacher.of(model, distilled)
    top, classes = min(settings.top, len(distilled.classes)), len(distilled.classes)
    stored = "some classes" if top < classes else f"{top} classes, all of which are stored"
    settings = settings.model_copy(update={"top": top, "size": model.input_size})
    settings = resolve_and_warn(settings, stored=stored).settings
    if settings.kind != "tiles":
        teacher.require_dense(settings.dense, settings.size)
    pixels = load_files(distilled.files(), distilled.info["size"])
    images = pixels.images.to(model.device)
    # before anything is written: a wrong teacher leaves no trace
    facts = teacher_facts(teacher, images, pixels.labels.numpy(), distilled, settings)
    say(f"teacher {model.name}: {facts['accuracy']:.1%} top-1 on {facts['tiles']} tiles")
    kinds: tuple[Kind, ...] = ("tiles", "views") if settings.kind == "both" else (settings.kind,)
    with locked(distilled.folder):  # which another `label` or `distill` may want to write to
        ours = own_cards(distilled.info, _stored(distilled))
        for kind in kinds:
            job = _Job(kind, folder_of(distilled, kind), images, teacher, settings, distilled.info["grid"])
            _label(job, distilled, facts, stored, overwrite, engine)
        _renew_card(distilled, ours)
    return tuple(open_store(distilled, kind) for kind in kinds)


def _stored(distilled: Distilled) -> list[dict[str, Any]]:
    """What labels.json says of each kind of labels, but for a damaged one, which is made again."""
    told = []
    for kind in stored_kinds(distilled):
        with suppress(FocusError):
            told.append(read_json(folder_of(distilled, kind) / "labels.json"))
    return told


def _renew_card(distilled: Distilled, ours: set[str]) -> None:
    """Writes about the labels into README.md, unless people have written in it."""
    path, there = distilled.folder / CARD, _stored(distilled)
    if path.read_text(encoding="utf-8") in ours | own_cards(distilled.info, there):
        write_whole(path, card(distilled.info, there))
    else:
        say(f"{path} has been edited: it is left as it is, without a word about these labels")


@dataclass(frozen=True)
class _Job:
    """Labels of one kind, part by part: of the tiles of some images, or of all images in one view."""

    kind: Kind
    folder: Path
    images: torch.Tensor
    teacher: Teacher
    settings: LabelSettings
    grid: int

    @cached_property
    def views(self) -> Views:
        """Those of kind "views"."""
        settings, generator = self.settings, torch.Generator().manual_seed(self.settings.seed)
        count, side = len(self.images), self.images.shape[-1]
        return draw_views(settings.num_crops, count, side, self.grid, settings, generator)

    @cached_property
    def paths(self) -> list[Path]:
        """The files of the parts."""
        parts = self.settings.num_crops if self.kind == "views" else -(-len(self.images) // BATCH)
        return [self.folder / "parts" / f"part-{number:05d}.npy" for number in range(parts)]

    def part(self, number: int) -> np.ndarray:
        """Packed labels: (images, labels of `tile_boxes`) or (1, images, ...), as in `Store.records`."""
        settings, size = self.settings, self.settings.size
        if self.kind == "views":
            batches = view_logits(self.teacher, self.images, self.views, number, size, settings.dense)
            return np.concatenate([self._packed(logits) for logits in batches])[None]
        rows = np.array_split(np.arange(len(self.images)), len(self.paths))
        return self._packed(tile_logits(self.teacher, self.images[rows[number]], self.grid, size))

    def _packed(self, logits: np.ndarray) -> np.ndarray:
        # nor can half precision hold any difference between two
        if not (np.isfinite(logits).all() and np.ptp(logits, -1).max() < np.finfo(np.float16).max):
            name = self.teacher.model.name
            raise FocusError(f"teacher {name!r} gives logits that are no finite numbers: use another teacher")
        return pack(logits, self.settings.top, self.settings.bits, self.settings.temperature)

    def work(self, numbers: Sequence[int], advance: Advance) -> None:
        """Writes the parts with these numbers that are not there."""
        for number in numbers:
            if not self.paths[number].exists():
                write_array(self.paths[number], self.part(number))
            advance(1, "")


def _label(
    job: _Job,
    distilled: Distilled,
    facts: dict[str, Any],
    stored: str,
    overwrite: bool,
    engine: EngineSettings | None,
) -> None:
    """One kind of labels: a stage of its own, so that the other can be added later."""
    kind, folder, settings = job.kind, job.folder, job.settings
    used = resolve(settings.model_copy(update={"kind": kind}), stored=stored).key
    recipe = {name: getattr(settings, name) for name in AugmentSettings.model_fields}
    weights = job.teacher.model.weights
    inputs = {"distilled": distilled.info["key"], "teacher": weights}
    names = ("images.npy", "labels.npy", *(["views.npy"] if kind == "views" else []))

    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["labels.json", *names])
        if kind == "views":
            write_array(folder / "views.npy", job.views.records())
        write_array(folder / "images.npy", image_digests([path for path, _ in distilled.files()]))
        if not (folder / "labels.npy").exists():
            make_folder(folder / "parts")
            name = str(distilled.folder.absolute())
            worker = partial(_elsewhere, kind, name, folder.absolute(), work.key, settings, weights)
            parts = [[path] for path in job.paths]
            with work.record.measure("label"):
                what = "parts", f"label {kind}"
                make_missing(parts, [1] * len(parts), *what, job.work, worker, engine, settings.device)
            write_joined(folder / "labels.npy", job.paths)
        info = {
            "kind": kind,
            "key": work.key,
            "distilled": distilled.info["key"],
            "teacher": facts,
            **{name: used.get(name) for name in ("size", "top", "bits", "temperature")},
            "recipe": recipe if kind == "views" else None,
            "dense": used.get("dense", 0),
            "images": len(job.images),
            "grid": job.grid,
            "classes": list(distilled.classes),
            "files": {name: digest_of(folder / name) for name in names},
        }
        write_json(folder / "labels.json", info)
        work.record.note(device=device_name(job.images.device), images=len(job.images))
        return {"images": len(job.images), **({"views": settings.num_crops} if kind == "views" else {})}

    run_stage(Stage("label", VERSION, used, inputs, scratch=("parts",)), folder, make, overwrite)


def _elsewhere(kind: Kind, name: str, folder: Path, key: str, settings: LabelSettings, weights: str) -> Work:
    """Asks the teacher in another process as `label` does in its own."""
    require_shared(folder, key)
    distilled = open_distilled(name)
    model = load_same(settings.teacher, weights, settings.device, settings.size)
    images = load_files(distilled.files(), distilled.info["size"]).images.to(model.device)
    teacher = Teacher.of(model, distilled)
    return _Job(kind, folder, images, teacher, settings, distilled.info["grid"]).work
