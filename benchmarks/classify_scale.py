"""Time and peak memory of distilling drawn images for classification, by their number.

    python benchmarks/classify_scale.py --images 1000 10000 100000

Every size runs in a process of its own, so that its peak memory is its own. Images are 64 x 48 pixels with
one box each whose colour is the class, drawn from a seed as they are read. The confidence is a probe's, which
needs the features of all images; a ViT that knows the classes needs less.
"""

from __future__ import annotations

from pathlib import Path

from by_size import Cost, by_size, cost
from drawn import DrawnSource

from focusdd import DistillSettings, ExtractSettings, distill, extract
from focusdd.demo.run import WEIGHTS


def measure(work: Path, images: int, device: str) -> Cost:
    """Extracts and distils once."""
    source = DrawnSource(images, annotated=False)
    views = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=64, device=device)
    return cost(
        device,
        lambda: extract(source, work / "index", views),
        lambda index: distill(source, work / "tiny", DistillSettings(ipc=10, size=128), index=index),
    )


if __name__ == "__main__":
    by_size("classify-scale", measure, __doc__)
