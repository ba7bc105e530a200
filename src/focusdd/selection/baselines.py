"""Other ways to fill a plan, so that every method is composed, labelled, trained and reported alike."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image

from focusdd.core.console import Advance, progress
from focusdd.core.cores import cpu_count
from focusdd.core.files import make_folder, read_json, write_whole
from focusdd.core.images import LEAST_SIDE, Box, UnreadableImage, decode, resize
from focusdd.models.checks import checked_outputs
from focusdd.models.load import Model
from focusdd.selection.plan import Kind, Piece, Plan, lay_out, no_image
from focusdd.settings import DistillSettings
from focusdd.sources.base import Source


def random_plan(source: Source, settings: DistillSettings, kind: Kind) -> Plan:
    """Random images: whole, one per distilled image ("whole"), or downsampled, one per tile ("view").

    Raises:
        FocusError: a class without a readable image.
    """
    grid = 1 if kind == "whole" else settings.grid
    pieces = []
    for label, keys in enumerate(_keys_by_class(source)):
        order = np.random.default_rng([settings.seed, 12, label]).permutation(len(keys))
        readable = (piece for number in order if (piece := _whole(source, keys[number], kind)))
        pieces.append(list(islice(readable, settings.ipc * grid**2)))
    return fill(source, pieces, settings.ipc, grid)


def _whole(source: Source, key: str, kind: Kind) -> Piece | None:
    if (found := _decoded(source, key, least_side=8)) is None:
        return None
    _, width, height = found
    return Piece(kind, key, (0.0, 0.0, float(width), float(height)), width, height, 0.0)


def _decoded(source: Source, key: str, least_side: int | None = None) -> tuple[Image, int, int] | None:
    """What `decode` gives; None for an image that cannot be read or is too small."""
    try:
        image, width, height = decode(source.read(key), least_side)
    except UnreadableImage:
        return None
    return (image, width, height) if min(width, height) >= LEAST_SIDE else None


def rded_plan(source: Source, settings: DistillSettings, teacher: Model, kept: Path) -> Plan:
    """RDED's choice (Sun et al., CVPR 2024): of some random crops per image the one with the lowest teacher
    loss, then the crops with the lowest loss of each class.

    The crops are torchvision's RandomResizedCrop (8 to 100 % of the area, square), scored at the tile's size.

    Args:
        kept: folder that holds the choice of every class so far, so that an interrupted run goes on there.

    Raises:
        FocusError: the teacher does not know the classes.
    """
    outputs, _ = checked_outputs(teacher, source, "teacher")
    by_class = _keys_by_class(source)
    make_folder(kept)
    files = [kept / f"{label:05d}.json" for label in range(len(by_class))]
    counts = [min(settings.rded_images, len(keys)) for keys in by_class]
    done = sum(count for file, count in zip(files, counts, strict=True) if file.exists())
    with progress("crop", sum(counts), "images", done) as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for label, (keys, file) in enumerate(zip(by_class, files, strict=True)):
            if not file.exists():
                found = _best_crops(source, label, keys, settings, teacher, outputs, pool, advance)
                best = sorted(found, key=lambda piece: -piece.score)
                write_whole(file, json.dumps([[*vars(piece).values()] for piece in best]))
    pieces = [
        [Piece(kind, key, tuple(box), *rest) for kind, key, box, *rest in read_json(file)] for file in files
    ]
    return fill(source, pieces, settings.ipc, settings.grid)


def _best_crops(
    source: Source,
    label: int,
    keys: list[str],
    settings: DistillSettings,
    teacher: Model,
    outputs: torch.Tensor,
    pool: ThreadPoolExecutor,
    advance: Advance,
) -> list[Piece]:
    """The crop with the lowest loss of each of some images of a class."""
    rng = np.random.default_rng([settings.seed, 13, label])
    chosen = sorted(rng.permutation(len(keys))[: settings.rded_images])
    jobs = [(keys[number], rng.random((settings.rded_crops, 3))) for number in chosen]
    tile = settings.size // settings.grid
    found = []
    for start in range(0, len(jobs), 64):
        batch = jobs[start : start + 64]
        crops = [crop for crop in pool.map(lambda job: _crops(source, job[0], job[1], tile), batch) if crop]
        advance(len(batch), "")
        if not crops:
            continue
        pixels = torch.from_numpy(np.concatenate([crop[1] for crop in crops])).permute(0, 3, 1, 2)
        logits = teacher.logits(pixels)[:, outputs]
        target = torch.full((len(logits),), label, device=logits.device)
        losses = F.cross_entropy(logits, target, reduction="none").view(len(crops), -1).cpu().numpy()
        for (boxes, _, key, width, height), loss in zip(crops, losses, strict=True):
            best = int(loss.argmin())
            found.append(Piece("crop", key, boxes[best], width, height, -float(loss[best])))
    return found


def _crops(
    source: Source, key: str, draws: np.ndarray, tile: int
) -> tuple[list[Box], np.ndarray, str, int, int] | None:
    """Square crops of one image at the tile's size; draws (n, 3) in [0, 1) place them."""
    if (found := _decoded(source, key)) is None:
        return None
    image, width, height = found
    boxes = []
    for size, x, y in draws:
        side = min(np.sqrt((0.08 + 0.92 * size) * width * height), width, height)
        left, top = x * (width - side), y * (height - side)
        boxes.append((float(left), float(top), float(left + side), float(top + side)))
    return boxes, np.stack([np.asarray(resize(image, tile, tile, box)) for box in boxes]), key, width, height


def _keys_by_class(source: Source) -> list[list[str]]:
    keys: list[list[str]] = [[] for _ in source.classes]
    for record in source.records:
        keys[record.label].append(record.key)
    return keys


def fill(source: Source, pieces: list[list[Piece]], ipc: int, grid: int) -> Plan:
    """Fills every class's images with its pieces in order, starting again where there are too few."""
    images, short = [], []
    for folder, mine in zip(source.classes, pieces, strict=True):
        if not mine:
            raise no_image(folder)
        if len(mine) < ipc * grid**2:
            short.append(folder)
        endless = cycle(mine)
        images.append([list(islice(endless, grid**2)) for _ in range(ipc)])
    return Plan(grid, lay_out(source.classes, images, grid), tuple(short))
