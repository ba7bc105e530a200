"""What a model that is about to be trained starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from focusdd.core.console import warn
from focusdd.core.errors import FocusError
from focusdd.models.names import origin
from focusdd.sources.identity import content_hash


class Start(NamedTuple):
    """Where the architecture and the weights come from."""

    name: str
    """As `origin` takes it."""
    pretrained: bool
    """Whether there are weights to start from."""
    inputs: dict[str, str]
    """Its part of a stage's key."""


def start_of(model: str, init: str, pretrained: bool | None, model_args: Mapping[str, Any]) -> Start:
    """Finds what to start from.

    Args:
        model: as `origin` takes it; may be left out beside `init`.
        init: checkpoint folder to start from.
        pretrained: start from timm's weights; None: where there are such, they can be had and `model_args`
            does not change the architecture.

    Raises:
        FocusError: there is no such model, or its weights cannot be had.
    """
    if init:
        found = origin(init, weights=False)
        if found.folder is None:
            raise FocusError(f"--init takes a checkpoint folder: for timm's weights use --model {init}")
        origin(init)  # which refuses damaged weights
        if model and origin(model, weights=False).architecture != found.architecture:
            raise FocusError(f"{init} is a {found.architecture}, not a {model}: leave out --model or --init")
        weights = content_hash((found.folder / "model.safetensors").read_bytes())
        return Start(init, True, {"init": weights})
    if not model:
        raise FocusError("no model: give --model, a timm name, or --init, a checkpoint folder")
    wanted = pretrained
    if wanted is None:
        wanted = origin(model, weights=False).has_weights and not model_args
        try:
            origin(model, weights=wanted)
        except FocusError as error:
            warn(f"{error}. Training starts from random weights")
            wanted = False
    return Start(model, wanted, {})


def inherited(name: str, net: nn.Module) -> str:
    """Says what a network that was just made of a checkpoint has of it."""
    found = origin(name)
    if found.folder is None:
        return f"{name}: training starts from timm's weights"
    theirs = load_file(found.folder / "model.safetensors")
    config: Any = net.pretrained_cfg
    head = config.get("classifier") or ()
    head = tuple(f"{part}." for part in ([head] if isinstance(head, str) else head))
    same, resized, new = [], [], []
    for key, value in net.state_dict().items():
        if key in theirs and theirs[key].shape != value.shape and not key.startswith(head):
            resized.append(key)
        elif key in theirs and torch.equal(theirs[key].to(value), value):
            same.append(key)
        else:
            new.append(key)
    words = [f"{len(same)} of its {len(theirs)} tensors are kept"]
    words += [f"{what}: {', '.join(keys)}" for what, keys in (("resized", resized), ("new", new)) if keys]
    return f"{name}: {'; '.join(words)}"
