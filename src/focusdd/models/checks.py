"""Checks before anything is spent: does a model know these classes, in this order?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from focusdd.core.errors import FocusError
from focusdd.core.images import UnreadableImage, decode, square
from focusdd.models.load import Model
from focusdd.sources.base import Record, Source

SAMPLE = 256  # images


def stratified(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """A sample of about `count` records with equally many of every class, in source order."""
    rng = np.random.default_rng([seed, 7])
    labels = np.array([record.label for record in records])
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    chosen = sorted(order[np.argsort(turn[order], kind="stable")][:count])
    return [records[index] for index in chosen]


def sample_accuracy(model: Model, outputs: np.ndarray, source: Source, role: str) -> float:
    """Top-1 accuracy, 0 to 1, on a stratified sample of the source.

    Raises:
        FocusError: the accuracy is near chance; the sentence names the likely cause.
    """
    pixels, labels = [], []

    def load(record: Record) -> tuple[np.ndarray, int] | None:
        try:
            return square(
                decode(source.read(record.key), model.input_size)[0], model.input_size
            ), record.label
        except UnreadableImage:
            return None

    with ThreadPoolExecutor() as pool:
        for loaded in pool.map(load, stratified(source.records, SAMPLE)):
            if loaded is not None:
                pixels.append(loaded[0])
                labels.append(loaded[1])
    if not pixels:
        raise FocusError(f"no image of {source.name} can be read")
    batches = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).split(64)
    choose = torch.as_tensor(outputs)
    predicted = torch.cat([model.logits(batch).cpu()[:, choose].argmax(1) for batch in batches]).numpy()
    refuse_near_chance(
        predicted, np.array(labels), len(source.classes), f"{role} {model.name!r}", source.name
    )
    return float((predicted == labels).mean())


def refuse_near_chance(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int, who: str, where: str
) -> None:
    """Raises FocusError when predictions (n,) are no better than guessing the labels (n,)."""
    chance = 1 / num_classes
    accuracy = float((predicted == labels).mean())
    if accuracy > chance + 3 * np.sqrt(chance * (1 - chance) / len(labels)):
        return
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((num_classes, num_classes))
    np.add.at(table, (labels, predicted), 1)
    rows, columns = linear_sum_assignment(-table)
    best = float(table[rows, columns].sum() / len(labels))
    if best > max(0.5, 2 * accuracy + 0.1):
        cause = f"with the classes in another order it would be {best:.0%}: the class order is wrong"
    else:
        cause = "it was trained on other classes, on another kind of image, or not at all"
    raise FocusError(
        f"the {who} gets {accuracy:.1%} of {len(labels)} images of {where} right, "
        f"chance is {chance:.1%}; {cause}"
    )
