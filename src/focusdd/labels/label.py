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
from focusdd.labels.packed import pack
from focusdd.labels.store import (
    Kind,
    Store,
    folder_of,
    image_digests,
    open_store,
    stored_kinds,
    write_array,
    write_joined,
)
from focusdd.labels.teacher import BATCH, Teacher, teacher_facts, tile_logits, view_logits
from focusdd.labels.views import Views, draw_views
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import load_model
from focusdd.settings import AugmentSettings, EngineSettings, LabelSettings
from focusdd.settings.keywords import with_keywords
from focusdd.settings.resolve import resolve, resolve_and_warn
from focusdd.sources.pixels import Pixels, load_files

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
    top, classes = min(settings.top, len(distilled.classes)), len(distilled.classes)
    stored = "some classes" if top < classes else f"{top} classes, all of which are stored"
    settings = settings.model_copy(update={"top": top, "size": model.input_size})
    settings = resolve_and_warn(settings, stored=stored).settings
    lesson = _Lesson(distilled, Teacher.of(model, distilled), settings)
    if overwrite:
        _ = lesson.facts  # a wrong teacher leaves what is there
    kinds: tuple[Kind, ...] = ("tiles", "views") if settings.kind == "both" else (settings.kind,)
    with locked(distilled.folder):  # which another `label` or `distill` may want to write to
        ours = own_cards(distilled.info, _stored(distilled))
        for kind in kinds:
            _label(kind, lesson, stored, overwrite, engine)
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
class _Lesson:
    """A teacher and the distilled images that it is asked about, which are read when they are needed."""

    distilled: Distilled
    teacher: Teacher
    settings: LabelSettings

    @cached_property
    def pixels(self) -> Pixels:
        """The images in memory."""
        return load_files(self.distilled.files(), self.distilled.info["size"])

    @cached_property
    def images(self) -> torch.Tensor:
        """The same on the teacher's device."""
        return self.pixels.images.to(self.teacher.model.device)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`teacher_facts`, which are said. Raises FocusError where the teacher cannot give these labels."""
        if self.settings.kind != "tiles":
            self.teacher.require_dense(self.settings.dense, self.settings.size)
        labels = self.pixels.labels.numpy()
        facts = teacher_facts(self.teacher, self.images, labels, self.distilled, self.settings)
        say(f"teacher {facts['name']}: {facts['accuracy']:.1%} top-1 on {facts['tiles']} tiles")
        return facts

    @cached_property
    def views(self) -> Views:
        """Those that are labelled."""
        settings, generator = self.settings, torch.Generator().manual_seed(self.settings.seed)
        grid, side = (self.distilled.info[name] for name in ("grid", "size"))
        return draw_views(settings.num_crops, len(self.images), side, grid, settings, generator)

    def parts(self, kind: Kind) -> list[Path]:
        """The files of the parts: of the tiles of some images, or of all images in one view."""
        count = self.settings.num_crops if kind == "views" else -(-len(self.images) // BATCH)
        folder = folder_of(self.distilled, kind) / "parts"
        return [folder / f"part-{number:05d}.npy" for number in range(count)]

    def part(self, kind: Kind, number: int) -> np.ndarray:
        """Packed labels: (images, labels of `tile_boxes`) or (1, images, ...), as in `Store.records`."""
        settings, size = self.settings, self.settings.size
        if kind == "views":
            batches = view_logits(self.teacher, self.images, self.views, number, size, settings.dense)
            return np.concatenate([self._packed(logits) for logits in batches])[None]
        rows = np.array_split(np.arange(len(self.images)), len(self.parts(kind)))[number]
        grid = self.distilled.info["grid"]
        return self._packed(tile_logits(self.teacher, self.images[rows], grid, size))

    def work(self, kind: Kind, numbers: Sequence[int], advance: Advance) -> None:
        """Writes the parts with these numbers that are not there."""
        paths = self.parts(kind)
        for number in numbers:
            if not paths[number].exists():
                write_array(paths[number], self.part(kind, number))
            advance(1, "")

    def _packed(self, logits: np.ndarray) -> np.ndarray:
        # nor can half precision hold any difference between two
        if not (np.isfinite(logits).all() and np.ptp(logits, -1).max() < np.finfo(np.float16).max):
            name = self.teacher.model.name
            raise FocusError(f"teacher {name!r} gives logits that are no finite numbers: use another teacher")
        return pack(logits, self.settings.top, self.settings.bits, self.settings.temperature)


def _label(kind: Kind, lesson: _Lesson, stored: str, overwrite: bool, engine: EngineSettings) -> None:
    """One kind of labels: a stage of its own, so that the other can be added later."""
    distilled, settings, folder = lesson.distilled, lesson.settings, folder_of(lesson.distilled, kind)
    used = resolve(settings.model_copy(update={"kind": kind}), stored=stored).key
    weights = lesson.teacher.model.weights
    inputs = {"distilled": distilled.info["key"], "teacher": weights}
    names = ("images.npy", "labels.npy", *(["views.npy"] if kind == "views" else []))

    def make(work: Workspace) -> dict[str, Any]:
        facts = lesson.facts  # a wrong teacher leaves no trace
        work.declare(["labels.json", *names])
        if kind == "views":
            write_array(folder / "views.npy", lesson.views.records())
        write_array(folder / "images.npy", image_digests([path for path, _ in distilled.files()]))
        if not (folder / "labels.npy").exists():
            make_folder(folder / "parts")
            here, paths = partial(lesson.work, kind), lesson.parts(kind)
            worker = partial(_elsewhere, kind, folder.absolute(), work.key, settings, weights)
            parts, what = [[path] for path in paths], f"label {kind}"
            with work.record.measure("label"):
                make_missing(parts, [1] * len(parts), "parts", what, here, worker, engine, settings.device)
            length = settings.num_crops if kind == "views" else len(lesson.images)
            write_joined(folder / "labels.npy", paths, length)
        recipe = {name: getattr(settings, name) for name in AugmentSettings.model_fields}
        info = {
            "kind": kind,
            "key": work.key,
            "distilled": distilled.info["key"],
            "teacher": facts,
            **{name: used.get(name) for name in ("size", "top", "bits", "temperature")},
            "recipe": recipe if kind == "views" else None,
            "dense": used.get("dense", 0),
            "images": len(lesson.images),
            "grid": distilled.info["grid"],
            "classes": list(distilled.classes),
            "files": {name: digest_of(folder / name) for name in names},
        }
        write_json(folder / "labels.json", info)
        work.record.note(device=device_name(lesson.images.device), images=len(lesson.images))
        return {"images": len(lesson.images), **({"views": settings.num_crops} if kind == "views" else {})}

    run_stage(Stage("label", VERSION, used, inputs, scratch=("parts",)), folder, make, overwrite)


def _elsewhere(kind: Kind, folder: Path, key: str, settings: LabelSettings, weights: str) -> Work:
    """Asks the teacher in another process as `label` does in its own."""
    require_shared(folder, key)
    distilled = open_distilled(folder.parents[1])
    model = load_same(settings.teacher, weights, settings.device, settings.size)
    return partial(_Lesson(distilled, Teacher.of(model, distilled), settings).work, kind)
