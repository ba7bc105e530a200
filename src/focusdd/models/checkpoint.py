"""Checkpoint folders in timm's own layout: config.json + model.safetensors (`local-dir:`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from focusdd.core.files import write_json, write_whole

CHECKPOINT = ("config.json", "model.safetensors")


def save_checkpoint(
    folder: Path,
    net: nn.Module,
    classes: Sequence[str],
    class_names: Sequence[str],
    size: int,
    model_args: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Writes a checkpoint that `timm.create_model("local-dir:<folder>", pretrained=True)` loads.

    Args:
        size: side of the square input in pixels; images are squashed to it, not cropped.
        facts: what else is worth knowing, kept under "focusdd": how it was trained, how well it did.
    """
    config = dict(net.pretrained_cfg)  # type: ignore[arg-type]
    described = {
        "architecture": config["architecture"],
        "num_classes": len(classes),
        "num_features": int(net.num_features),  # type: ignore[arg-type]
        "model_args": model_args,
        "label_names": list(classes),
        "label_descriptions": dict(zip(classes, class_names, strict=True)),
        "pretrained_cfg": {
            "tag": "focusdd",
            "input_size": [3, size, size],
            "fixed_input_size": bool(config.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(config["mean"]),
            "std": list(config["std"]),
            "num_classes": len(classes),
            "pool_size": config.get("pool_size"),
            "first_conv": config.get("first_conv"),
            "classifier": config.get("classifier"),
        },
        "focusdd": facts,
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    write_whole(folder / "model.safetensors", save(weights))
    write_json(folder / "config.json", json.loads(json.dumps(described)))
