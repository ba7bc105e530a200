"""Time and peak memory of distilling drawn, annotated images for detection, by their number.

    python benchmarks/detect_scale.py --images 1000 10000 100000

Every size runs in a process of its own, so that its peak memory is its own. Images are 64 x 48 pixels with
one to eight coloured boxes each, drawn from a seed as they are read.
"""

from __future__ import annotations

from pathlib import Path

from by_size import Cost, by_size, cost
from drawn import DrawnSource

from focusdd.demo.run import WEIGHTS
from focusdd.settings import DetectDistillSettings, ExtractorSettings
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill
from focusdd.tasks.extract import extract


def measure(work: Path, images: int, device: str) -> Cost:
    """Extracts and distils once."""
    source = DrawnSource(images, annotated=True)
    views = ExtractorSettings(extractor=str(WEIGHTS / "vit"), device=device)
    return cost(
        device,
        lambda: extract(source, work / "index", views, task=DETECT),
        lambda index: distill(
            source, work / "tiny", DetectDistillSettings(ipc=10, size=128), task=DETECT, index=index
        ),
    )


if __name__ == "__main__":
    by_size("detect-scale", measure, __doc__)
