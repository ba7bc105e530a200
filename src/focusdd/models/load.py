"""timm models: by checkpoint folder or by name, with what they need to be fed and the classes they know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn

import focusdd.models.convnet  # noqa: F401  registers "convnet5" with timm
from focusdd.core.errors import FocusError
from focusdd.models.precision import autocast
from focusdd.sources.imagenet import imagenet_classes


@dataclass(frozen=True)
class Model:
    """A network ready for inference, with its preprocessing and classes."""

    net: nn.Module
    name: str
    """What loads it again."""
    input_size: int
    """Side in pixels of its square input."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...] | None
    """Class names of its head in order (WordNet ids for ImageNet); None when unknown or without a head."""
    class_names: tuple[str, ...] | None
    """The same for people."""
    weights: str
    """Hash of architecture and weights."""
    device: torch.device

    @torch.inference_mode()
    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 or float [0, 255] images (B, 3, S, S) -> float32 logits (B, classes)."""
        with autocast(self.device):
            return self.net(self.prepare(pixels)).float()

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """[0, 255] images (B, 3, S, S) -> normalised float32, channels last, on the model's device."""
        return normalise(pixels.to(self.device, non_blocking=True), self.mean, self.std)


def normalise(
    pixels: torch.Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> torch.Tensor:
    """[0, 255] images (B, 3, S, S) -> (x / 255 - mean) / std, float32, channels last."""
    batch, channels, height, width = pixels.shape
    # a row of pixels at a time: over three channels alone a CPU computes one number at a time
    rows = pixels.permute(0, 2, 3, 1).reshape(-1, width * channels).float()
    scale, shift = _affine(mean, std, width, pixels.device)
    return torch.addcmul(shift, rows, scale).view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)  # a copy to a GPU makes the CPU wait for all that is under way there
@torch.inference_mode(False)  # so that any pass may use what is kept
def _affine(
    mean: tuple[float, float, float], std: tuple[float, float, float], width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and summand of every number in a row of pixels, (3 * width,) each."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)
    return scale.repeat(width), shift.repeat(width)


def normalisation(net: nn.Module) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The mean and standard deviation, in [0, 1], that a timm network wants its input normalised with."""
    config: Any = net.pretrained_cfg
    return tuple(config["mean"]), tuple(config["std"])


def load_model(
    name: str, device: torch.device, input_size: int | None = None, pretrained: bool = True, **options: Any
) -> Model:
    """Loads a model for inference.

    Args:
        name: a folder with config.json and model.safetensors (timm's `local-dir:`), or a timm model name.
        input_size: side of the input in pixels; default: the model's own.
        options: further arguments of the architecture, e.g. `num_classes`.

    Raises:
        FocusError: an unknown name, weights that cannot be had, a damaged checkpoint, or an input size that
            the architecture does not take.
    """
    folder = Path(name.removeprefix("local-dir:"))
    config: dict[str, Any] = {}
    if (folder / "config.json").is_file():
        config = _read_config(folder)
        target = f"local-dir:{folder}"
    elif name.startswith("local-dir:") or "/" in name or folder.exists():
        raise FocusError(f"{folder} is not a checkpoint folder: it needs config.json and model.safetensors")
    else:
        require_known(name)
        target = name
    net, _ = create(target, name, input_size, pretrained, options)
    net = net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    mean, std = normalisation(net)
    own_size: int = net.pretrained_cfg["input_size"][-1]
    classes, names = _classes(config, net)
    return Model(
        net=net,
        name=name,
        input_size=input_size or own_size,
        mean=mean,
        std=std,
        classes=classes,
        class_names=names,
        weights=_hash_weights(net),
        device=device,
    )


def create(
    target: str, name: str, size: int | None, pretrained: bool, options: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Makes a timm network for inputs of this side in pixels, with the arguments that make it again.

    Raises:
        FocusError: the arguments do not fit the architecture, or its weights cannot be had.
    """
    arguments = {**options, **({"img_size": size} if size else {})}
    with offline_is_an_answer(name):
        try:
            return timm.create_model(target, pretrained=pretrained, **arguments), arguments
        except TypeError as error:
            if "img_size" not in str(error):
                raise FocusError(f"{name} does not take the arguments {arguments}: {error}") from error
        del arguments["img_size"]  # convolutional networks take any size and know no img_size
        return timm.create_model(target, pretrained=pretrained, **arguments), arguments


def require_known(name: str) -> None:
    """Raises FocusError, with names that are near, when timm knows no such model."""
    if timm.is_model(name):
        return
    near = timm.list_models(f"*{name.split('_')[0].split('.')[0][:6]}*")[:4]
    raise FocusError(f"timm knows no model {name!r}" + (f": did you mean {', '.join(near)}?" if near else ""))


@contextmanager
def offline_is_an_answer(name: str) -> Iterator[None]:
    """Turns the many ways in which weights fail to load into one sentence."""
    try:
        yield
    except FocusError:
        raise
    except (RuntimeError, ValueError, OSError, KeyError, AttributeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise FocusError(
            f"the weights of {name!r} cannot be loaded ({reason}): without a network, give a checkpoint "
            "folder, or make one with `focusdd fit`"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "model.safetensors").is_file():
        raise FocusError(f"{folder} has config.json but no model.safetensors")
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise FocusError(f"{folder / 'config.json'} is not JSON ({error})") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise FocusError(f"{folder / 'config.json'} names no architecture")
    return config


def _classes(config: dict[str, Any], net: nn.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    count = getattr(net, "num_classes", 0)
    labels = config.get("label_names")
    if labels and len(labels) == count:
        words = config.get("label_descriptions") or {}
        return tuple(labels), tuple(words.get(label, label) for label in labels)
    if count == 1000:
        return imagenet_classes(), imagenet_classes()
    return None, None


def _hash_weights(net: nn.Module) -> str:
    digest = hashlib.sha256(type(net).__name__.encode())
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
