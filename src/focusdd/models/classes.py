"""Which output of a model means which class of a source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from focusdd.core.errors import FocusError
from focusdd.models.load import Model
from focusdd.sources.base import Classes


def map_classes(model: Model, source: Classes) -> np.ndarray | None:
    """For every class of the source, the model's output that means it; None when one has no counterpart.

    Classes match by folder name (WordNet ids included) or, failing that, by their name for people.
    """
    if model.classes is None:
        return None
    outputs = {name.lower(): index for index, name in enumerate(model.class_names or ())}
    outputs.update({name.lower(): index for index, name in enumerate(model.classes)})
    found = [
        outputs.get(folder.lower(), outputs.get(name.lower()))
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
        known = f"{len(model.classes)} classes: {_few(model.classes)}" if model.classes else "unnamed classes"
        raise FocusError(
            f"the {role} {model.name!r} does not know the classes of {source.name} ({_few(source.classes)}); "
            f"it has {known}. Use a {role} trained on these classes, e.g. from `focusdd fit`"
        )
    return torch.as_tensor(outputs, device=model.device)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
