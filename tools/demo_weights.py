"""Makes the demo's two checkpoints again: a teacher and a ViT, fitted on generated images alone.

    python tools/demo_weights.py runs/demo-weights

They are kept in src/focusdd/demo/weights in half precision: fitting them takes longer on two cores than all
the rest of the demo.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from focusdd import FitSettings, fit, open_source

KEPT = Path(__file__).parents[1] / "src" / "focusdd" / "demo" / "weights"
COMMON = {"size": 64, "crop": 0.6, "flip": False}


def main(work: Path) -> None:
    source, val = open_source("demo:400"), open_source("demo", "val")
    teacher = FitSettings(model="test_resnet", epochs=6, lr=4e-3, batch_size=16, **COMMON)
    fit(source, work / "teacher", teacher, val=val)
    shape = {"patch_size": 8, "embed_dim": 96, "depth": 3, "num_heads": 3}
    vit = FitSettings(
        model="vit_tiny_patch16_224", model_args=shape, epochs=14, lr=1e-3, batch_size=16,
        teacher=str(work / "teacher"), **COMMON,
    )  # fmt: skip
    fit(source, work / "vit", vit, val=val)
    for name in ("teacher", "vit"):
        folder = KEPT / name
        folder.mkdir(parents=True, exist_ok=True)
        weights = load_file(work / name / "model.safetensors")
        half = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        save_file(half, folder / "model.safetensors")
        shutil.copy(work / name / "config.json", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
