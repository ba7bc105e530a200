"""Checks before anything is spent: does a model know these classes, in this order?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from focusdd.core.console import progress, say, warn_once
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.core.spelling import number_of
from focusdd.models.load import Model
from focusdd.sources.base import Classes, Record, Source
from focusdd.sources.classes import fold

SAMPLE = 256  # images


def stratified(records: Sequence[Record], count: int) -> list[Record]:
    """A sample of about `count` records with equally many of every class, in source order."""
    rng = np.random.default_rng([0, 7])
    labels = np.array([record.label for record in records])
    order = rng.permutation(len(labels))
    place_in_class = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = labels[order] == label
        place_in_class[mine] = np.arange(mine.sum())
    return [records[index] for index in sorted(order[np.argsort(place_in_class, kind="stable")][:count])]


def map_classes(model: Model, source: Classes) -> np.ndarray | None:
    """For every class of the source, the model's output that means it; None when one has no counterpart.

    Classes match by folder name (WordNet ids included) or, failing that, by their name for people.
    """
    if model.classes is None:
        return None
    outputs = {fold(name): index for index, name in enumerate(model.class_names or ())}
    outputs.update({fold(name): index for index, name in enumerate(model.classes)})
    outputs.update({name: index for index, name in enumerate(model.classes)})  # "a" may not be "A"
    found = [
        outputs.get(folder, outputs.get(fold(folder), outputs.get(fold(name))))
        for folder, name in zip(source.classes, source.class_names, strict=True)
    ]
    if any(index is None for index in found) or len(set(found)) < len(found):
        return None
    return np.array(found)


def matched_outputs(model: Model, source: Classes, role: str) -> torch.Tensor:
    """The model's outputs in the order of the source's classes: int64 (C,), on the model's device.

    Raises:
        FocusError: the model does not know all of them.
    """
    outputs = map_classes(model, source)
    if outputs is None:
        known = "unnamed classes"
        if model.classes:
            known = f"{number_of(len(model.classes), 'class', 'classes')}: {_few(model.classes)}"
        raise FocusError(
            f"the {role} {model.name!r} does not know the classes of {source.name} ({_few(source.classes)}); "
            f"it has {known}. Use a {role} trained on these classes, e.g. from `focusdd fit`"
        )
    return torch.as_tensor(outputs, device=model.device)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass(frozen=True)
class Accuracy:
    """How often predictions are right, as fractions, beside what guessing gets."""

    top1: float
    per_class: tuple[float, ...]
    """Top-1 by class; NaN for a class without images."""
    chance: float
    """Top-1 of always naming the most frequent class."""
    images: int

    @classmethod
    def of(cls, hits: np.ndarray, labels: np.ndarray, num_classes: int) -> Accuracy:
        """From which predictions are right, bool (n,), of images with these labels (n,)."""
        counts = np.bincount(labels, minlength=num_classes)
        right = np.bincount(labels[hits], minlength=num_classes)
        per_class = np.divide(right, counts, out=np.full(num_classes, np.nan), where=counts > 0)
        return cls(
            float(hits.mean()), tuple(per_class.tolist()), float(counts.max() / len(labels)), len(labels)
        )

    @property
    def balanced(self) -> float:
        """Mean top-1 of the classes that have images."""
        return float(np.nanmean(self.per_class))

    def __str__(self) -> str:
        """For people."""
        return f"{self.top1:.1%} top-1 ({self.balanced:.1%} balanced, chance {self.chance:.1%})"


_scored: dict[tuple[object, ...], Accuracy] = {}  # one teacher may have many students


def checked_outputs(
    model: Model, source: Source, role: str, anyway: bool | None = None
) -> tuple[torch.Tensor, Accuracy]:
    """`matched_outputs` of a model, and its `sample_accuracy` on the source.

    Raises:
        FocusError: the model does not know the classes, or is near chance.
    """
    outputs = matched_outputs(model, source, role)
    return outputs, sample_accuracy(model, outputs, source, role, anyway)


def sample_accuracy(
    model: Model, outputs: torch.Tensor | np.ndarray, source: Source, role: str, anyway: bool | None = None
) -> Accuracy:
    """Scores a model on a stratified sample of a source, and says the result; once in a process.

    Args:
        outputs: the model's outputs in the order of the source's classes.
        anyway: near chance is a warning; None where no setting can say so.

    Raises:
        FocusError: the accuracy is near chance; the sentence names the likely cause.
    """
    choose = torch.as_tensor(outputs).cpu()
    asked = (role, model.name, model.weights, model.input_size, model.device, *choose.tolist())
    asked += (source.name, source.fingerprint, anyway)
    if asked in _scored:
        return _scored[asked]
    predicted, labels = [], []
    for pixels, of_them in sample_batches(source, SAMPLE, model.input_size):
        predicted.append(model.logits(pixels).cpu()[:, choose].argmax(1).numpy())
        labels.append(of_them)
    rows = np.concatenate(predicted), np.concatenate(labels)
    who = f"{role} {model.name!r}"
    found = refuse_near_chance(*rows, len(source.classes), who, source.name, model, anyway)
    sizes = f" (fitted at {model.fitted_size} px, used at {model.input_size} px)"
    words = sizes if model.fitted_size != model.input_size else ""
    images = number_of(found.images, "image")
    say(f"{role} {model.name}{words}: {found} on a sample of {images} of {source.name}")
    _scored[asked] = found
    return found


def sample_batches(source: Source, count: int, side: int) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """A stratified sample of about `count` images: uint8 pixels (b, 3, side, side) and labels (b,).

    Raises:
        FocusError: none of them can be read.
    """

    def load(record: Record) -> np.ndarray | None:
        try:
            return square(decode(source.read(record.key), side)[0], side)
        except UnreadableImage:
            return None

    records, found = stratified(source.records, count), False
    with progress("check", len(records), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(records), 64):
            batch = records[start : start + 64]
            loaded = zip(batch, pool.map(load, batch), strict=True)
            there = [(record.label, pixels) for record, pixels in loaded if pixels is not None]
            if there:
                found = True
                labels, views = zip(*there, strict=True)
                yield torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), np.array(labels)
            advance(len(batch))
    if not found:
        raise FocusError(f"no image of {source.name} can be read")


def refuse_near_chance(
    predicted: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    who: str,
    where: str,
    model: Model,
    anyway: bool | None = None,
) -> Accuracy:
    """Scores predictions (n,) of labels (n,), and refuses those that are no better than guessing.

    It is the balanced accuracy that has to be above chance: naming the most frequent class is often right.

    Args:
        anyway: near chance is a warning; None where no setting can say so.

    Raises:
        FocusError: near chance; the sentence names the likely cause.
    """
    found = Accuracy.of(predicted == labels, labels, num_classes)
    counts = np.unique(labels, return_counts=True)[1]
    chance = 1 / len(counts)  # of the balanced accuracy
    least = chance + 3 * np.sqrt(chance * (1 - chance) * (1 / counts).sum()) / len(counts)
    if found.balanced > least or len(counts) < 2:
        return found
    if least > (1 + chance) / 2:
        few = number_of(found.images, f"image of {where} is", f"images of {where} are") + " too few"
        warn_once(f"{few} to tell whether the {who} knows the classes")
        return found
    cause = _cause(predicted, labels, num_classes, found.top1, model)
    sentence = (
        f"the {who} gets {found.top1:.1%} of {found.images} images of {where} right, chance is "
        f"{found.chance:.1%} ({found.balanced:.1%} balanced over the classes); {cause}"
    )
    if anyway is None:
        raise FocusError(sentence)
    if not anyway:
        group = "train" if who.startswith("teacher") else "extract"
        raise FocusError(f"{sentence}. To go on all the same, add --{group}.anyway")
    warn_once(sentence)
    return found


def _cause(predicted: np.ndarray, labels: np.ndarray, num_classes: int, accuracy: float, model: Model) -> str:
    """The likely reason why predictions are near chance."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (labels, predicted), 1)
    rows, columns = linear_sum_assignment(-table)
    best = float(table[rows, columns].sum() / len(labels))
    if best > max(0.5, 2 * accuracy + 0.1):
        return f"with the classes in another order it would be {best:.0%}: the class order is wrong"
    if model.fitted_size != model.input_size:
        return f"it was fitted at {model.fitted_size} px and is used at {model.input_size} px"
    if model.net.pretrained_cfg.get("tag") == "focusdd":  # type: ignore[union-attr,operator]
        return (
            "it has learnt little (fit it for more epochs or on more images), or it was fitted on another "
            "kind of image"
        )
    return "it was trained on other classes, on another kind of image, or not at all"
