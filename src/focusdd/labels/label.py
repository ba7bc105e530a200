"""The stage that attaches soft labels: asks the teacher once, writes `labels/` beside the images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focusdd.composition.dataset import Distilled, card, open_distilled
from focusdd.core.console import say
from focusdd.core.files import digest_of, read_json, write_json, write_whole
from focusdd.core.lock import locked
from focusdd.core.manifest import CARD
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.execute import Work
from focusdd.execute.remote import load_same, require_shared
from focusdd.labels.packed import pack
from focusdd.labels.parts import parts_work, write_array, write_parts
from focusdd.labels.store import Kind, Store, folder_of, image_digests, open_store, stored_kinds
from focusdd.labels.teacher import BATCH, Teacher, teacher_facts, tile_logits, view_logits
from focusdd.labels.views import Views, draw_views
from focusdd.models.device import device_name, pick_device
from focusdd.models.families import other_family
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
    device = pick_device(settings.device)
    model = load_model(settings.teacher, device, settings.size)
    teacher = Teacher.of(model, distilled)
    top, classes = min(settings.top, len(distilled.classes)), len(distilled.classes)
    stored = "some classes" if top < classes else f"{top} classes, all of which are stored"
    settings = settings.model_copy(update={"top": top, "size": model.input_size})
    settings = resolve_and_warn(settings, stored=stored).settings
    if settings.kind != "tiles":
        teacher.require_dense(settings.dense, settings.size)
    files = distilled.files()
    pixels = load_files(files, distilled.info["size"])
    images = pixels.images.to(device)
    # before anything is written: a wrong teacher leaves no trace
    facts = teacher_facts(teacher, images, pixels.labels.numpy(), distilled, settings)
    say(f"teacher {model.name}: {facts['accuracy']:.1%} top-1 on {facts['tiles']} tiles")
    say(other_family(settings.teacher))
    kinds: tuple[Kind, ...] = ("tiles", "views") if settings.kind == "both" else (settings.kind,)
    paths = [path for path, _ in files]
    with locked(distilled.folder):  # which another `label` or `distill` may want to write to
        for kind in kinds:
            _label(kind, distilled, paths, images, teacher, facts, settings, stored, overwrite, engine)
        there = [read_json(folder_of(distilled, kind) / "labels.json") for kind in stored_kinds(distilled)]
        write_whole(distilled.folder / CARD, card(distilled.info, there))
    return tuple(open_store(distilled, kind) for kind in kinds)


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
    used = resolve(settings.model_copy(update={"kind": kind}), stored=stored).key
    recipe = {name: getattr(settings, name) for name in AugmentSettings.model_fields}
    inputs = {"distilled": distilled.info["key"], "teacher": teacher.model.weights}
    folder = folder_of(distilled, kind)
    names = ("images.npy", "labels.npy", *(["views.npy"] if kind == "views" else []))

    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["labels.json", *names])
        job = _Job(kind, images, teacher, settings, distilled.info["grid"])
        if kind == "views":
            write_array(folder / "views.npy", job.views.records())
        write_array(folder / "images.npy", image_digests(files))
        name, weights = str(distilled.folder.absolute()), teacher.model.weights
        worker = _Worker(kind, name, folder.absolute(), work.key, settings, weights)
        if not (folder / "labels.npy").exists():
            with work.record.measure("label"):
                write_parts(folder, job.parts, job.part, f"label {kind}", worker, engine, settings.device)
        info = {
            "kind": kind,
            "key": work.key,
            "distilled": distilled.info["key"],
            "teacher": facts,
            **{name: used.get(name) for name in ("size", "top", "bits", "temperature")},
            "recipe": recipe if kind == "views" else None,
            "dense": used.get("dense", 0),
            "images": len(images),
            "grid": distilled.info["grid"],
            "classes": list(distilled.classes),
            "files": {name: digest_of(folder / name) for name in names},
        }
        write_json(folder / "labels.json", info)
        work.record.note(device=device_name(images.device), images=len(images))
        return {"images": len(images), **({"views": settings.num_crops} if kind == "views" else {})}

    run_stage(Stage("label", VERSION, used, inputs, scratch=("parts",)), folder, make, overwrite)


@dataclass(frozen=True)
class _Job:
    """Labels of one kind, part by part: of the tiles of some images, or of all images in one view."""

    kind: Kind
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

    @property
    def parts(self) -> int:
        """How many there are."""
        return self.settings.num_crops if self.kind == "views" else -(-len(self.images) // BATCH)

    def part(self, number: int) -> np.ndarray:
        """Packed labels: (images, labels of `tile_boxes`) or (1, images, ...), as in `Store.records`."""
        settings, size = self.settings, self.settings.size
        packed = partial(pack, top=settings.top, bits=settings.bits, temperature=settings.temperature)
        if self.kind == "views":
            batches = view_logits(self.teacher, self.images, self.views, number, size, settings.dense)
            return np.concatenate([packed(logits) for logits in batches])[None]
        rows = np.array_split(np.arange(len(self.images)), self.parts)
        return packed(tile_logits(self.teacher, self.images[rows[number]], self.grid, size))


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
        job = _Job(self.kind, images, Teacher.of(model, distilled), settings, distilled.info["grid"])
        return parts_work(self.out, job.part)
