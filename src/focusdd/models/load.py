"""timm models: by checkpoint folder or by name, with what they need to be fed and the classes they know."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn

from focusdd.core.errors import FocusError
from focusdd.models.device import autocast, pick_device
from focusdd.models.names import Origin, origin, unreachable
from focusdd.sources.imagenet import imagenet_classes


@dataclass(frozen=True)
class Model:
    """A network ready for inference, with its preprocessing and classes."""

    net: nn.Module
    name: str
    """What loads it again."""
    input_size: int
    """Side in pixels of its square input."""
    fitted_size: int
    """The same when its weights were fitted."""
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
    name: str,
    device: torch.device | str = "auto",
    input_size: int | None = None,
    pretrained: bool = True,
    **options: Any,
) -> Model:
    """Loads a model for inference.

    Args:
        name: as `origin` takes it.
        device: "auto", "cpu", "cuda" or "mps", or one of torch.
        input_size: side of the input in pixels; default: the one that the weights were fitted at.
        options: further arguments of the architecture, e.g. `num_classes`.

    Raises:
        FocusError: an unknown name or device, weights that cannot be had, a damaged checkpoint, or an input
            size that the architecture does not take.
    """
    device = pick_device(device) if isinstance(device, str) else device
    found = origin(name, pretrained)
    size = input_size or found.input_size
    if not isinstance(size, int) or size < 1:
        raise FocusError(f"an input cannot have {size!r} px: give a whole number of pixels, such as 224")
    net, _ = _create(found, size, pretrained, options)
    net = net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    mean, std = normalisation(net)
    classes, names = _classes(net)
    return Model(
        net=net,
        name=name,
        input_size=size,
        fitted_size=found.input_size,
        mean=mean,
        std=std,
        classes=classes,
        class_names=names,
        weights=_hash_weights(net),
        device=device,
    )


def new_net(
    name: str,
    num_classes: int,
    size: int,
    device: torch.device,
    seed: int,
    pretrained: bool = False,
    model_args: dict[str, Any] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """A network to train, with the arguments that make it again.

    Args:
        name: as `origin` takes it.
        size: side of the input in pixels.
        pretrained: start from its weights.
        classes: a pretrained head for others than these is made anew, as is one for another number.

    Raises:
        FocusError: there is no such model, its weights cannot be had, or it does not take the arguments.
    """
    found = origin(name, pretrained)
    torch.manual_seed(seed)
    options = {**found.model_args, **(model_args or {}), "num_classes": num_classes}
    net, arguments = _create(found, size, pretrained, options)
    del arguments["num_classes"]
    fits = not pretrained or classes is None or _classes(net)[0] in (None, tuple(classes))
    if not fits:
        net.reset_classifier(num_classes)  # type: ignore[operator]
    return net.to(device=device, memory_format=torch.channels_last), arguments  # type: ignore[call-overload]


def _create(
    found: Origin, size: int, pretrained: bool, options: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Makes a timm network for inputs of this side in pixels, with the arguments that make it again."""
    arguments = {**options, "img_size": size}
    try:
        try:
            net = timm.create_model(found.target, pretrained=pretrained, **arguments)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            del arguments["img_size"]  # convolutional networks take any size and know no img_size
            net = timm.create_model(found.target, pretrained=pretrained, **arguments)
    except TypeError as error:
        raise FocusError(f"{found.name} does not take the arguments {options}: {error}") from error
    except (
        *(RuntimeError, ValueError, OSError, KeyError, AttributeError, AssertionError),
        SafetensorError,
    ) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if pretrained:
            raise unreachable(found.name, reason) from error
        raise FocusError(
            f"{found.name} cannot be made for inputs of {size} px with the arguments {options} ({reason}): "
            "use another size or other arguments"
        ) from error
    _require_whole_patches(net, found.name, size)
    return net, arguments


def _require_whole_patches(net: nn.Module, name: str, size: int) -> None:
    """Raises FocusError, with the nearest sizes that fit, when the patches of a ViT do not fill its input."""
    embed: Any = getattr(net, "patch_embed", None)
    side = getattr(embed, "patch_size", (1,))[0]
    if size % side and not getattr(embed, "dynamic_img_pad", True):
        below = size // side * side
        near = f"{below} or {below + side}" if below else str(side)
        raise FocusError(
            f"{name} cuts images into patches of {side} px, which do not fill {size} px: use {near}"
        )


def _classes(net: nn.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    count = getattr(net, "num_classes", 0)
    config: Any = net.pretrained_cfg
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
