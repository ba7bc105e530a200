"""How a finished student does on corrupted validation images and on another source of the same classes."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.core.files import read_json, write_json
from focusdd.core.manifest import require_finished
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.models.device import device_name, pick_device
from focusdd.models.load import Model, load_model
from focusdd.settings import Device
from focusdd.sources.base import Source
from focusdd.sources.pixels import Pixels, load_source
from focusdd.training.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from focusdd.training.evaluate import evaluate

VERSION = 1
_BATCH = 256  # images corrupted at once
_KEPT = "resume.json"  # the corruptions that an unfinished stage has been through


def robustness(
    student: Path | str,
    val: Source,
    out: Path | str,
    *,
    other: Source | None = None,
    corruptions: bool = True,
    device: Device = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Scores a student of `train` outside the distribution it learned from.

    Args:
        other: another source with the same classes.
        corruptions: score it on `val` under every corruption at every strength.

    Returns:
        The content of `robustness.json`: `corrupted_top1` (mean over all corruptions and strengths),
        `corruptions` (name -> top-1 by strength) and `other` (name, images, top-1), each None when not asked
        for. Accuracies are fractions.

    Raises:
        FocusError: `student` is unfinished, or `other` has other classes.
    """
    student, out = Path(student), Path(out)
    require_finished(student, ("train",), "a student", "focusdd train DISTILLED --val ... --out ...")
    if other is not None and other.classes != val.classes:
        raise FocusError(f"{other.name} has other classes than {val.name}: give a source of the same")
    inputs = {"student": read_json(student / "done.json")["key"], "val": val.fingerprint}
    inputs |= {"other": other.fingerprint} if other is not None else {}
    own = {"corruptions": corruptions, "seed": 0}

    def make(work: Workspace) -> dict[str, Any]:
        work.declare(["robustness.json"])
        model = load_model(str(student), pick_device(device))
        found: dict[str, list[float]] = read_json(out / _KEPT) if (out / _KEPT).exists() else {}
        left = [name for name in CORRUPTIONS if name not in found] if corruptions else []
        if left:
            pixels = load_source(val, model.input_size, "read")
            sets, done = len(CORRUPTIONS) * len(STRENGTHS), len(found) * len(STRENGTHS)
            with progress("corrupt", sets, "sets", done) as advance:
                for name in left:
                    tops = []
                    for strength in STRENGTHS:
                        tops.append(_top1(model, pixels, name, strength))
                        advance(1, "")
                    found[name] = tops
                    write_json(out / _KEPT, found)
        result: dict[str, Any] = {
            "corrupted_top1": round(mean(mean(tops) for tops in found.values()), 5) if found else None,
            "corruptions": found or None,
            "other": None,
        }
        if other is not None:
            pixels = load_source(other, model.input_size, "read")
            result["other"] = {"name": other.name, "images": len(pixels), "top1": _top1(model, pixels)}
        write_json(out / "robustness.json", result)
        work.record.note(device=device_name(model.device))
        return {"corrupted top1": result["corrupted_top1"]}

    stage = Stage("robustness", VERSION, own, inputs, scratch=(_KEPT,))
    return read_json(run_stage(stage, out, make, overwrite) / "robustness.json")


def _top1(model: Model, pixels: Pixels, name: str = "", strength: int = 0) -> float:
    """Top-1 on images that are corrupted batch by batch, so that they never lie in memory twice."""
    classes = len(model.classes or ())
    right = 0.0
    for first in range(0, len(pixels), _BATCH):
        images = pixels.images[first : first + _BATCH]
        labels = pixels.labels[first : first + _BATCH]
        if name:
            images = corrupt(images, name, strength, first=first)
        score = evaluate(model.net, Pixels(images, labels, ()), model.mean, model.std, model.device, classes)
        right += score.top1 * len(labels)
    return round(right / len(pixels), 5)
