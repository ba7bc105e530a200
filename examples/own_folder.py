"""Distils a folder of photographs and trains a student, beside one of as many random images.

    python examples/own_folder.py photos --out runs/own

PHOTOS holds train/<class>/*.jpg and val/<class>/*.jpg. `focusdd run` does the same in one command.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import focusdd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ipc", type=int, default=10, help="distilled images per class")
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=224, help="side of the images, pixels")
    parser.add_argument("--fit-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--init", default="", help="checkpoint that the teacher starts from")
    parser.add_argument("--extractor", help="a ViT; default: DINOv2's ViT-S/14")
    given = parser.parse_args()

    # a teacher of the student's architecture, fitted on the photographs
    teacher = given.out / "teacher"
    focusdd.fit(
        given.photos, teacher, val=given.photos,
        model=given.student, init=given.init, size=given.size, epochs=given.fit_epochs, lr=2e-3, mix_prob=0.5,
    )  # fmt: skip

    # one pass over the photographs; then distilled images in seconds
    reading = {"extractor": given.extractor} if given.extractor else {}
    index = focusdd.extract(given.photos, given.out / "index", **reading)
    same = {"ipc": given.ipc, "size": given.size}
    tiny = focusdd.distill(given.photos, given.out / "distilled", index=index, **same)
    random = focusdd.distill(given.photos, given.out / "random", method="random", **same)

    # the same student on each
    for name, images in (("distilled", tiny), ("random", random)):
        student = focusdd.train(
            images, given.photos, given.out / f"{name}-student",
            student=given.student, teacher=str(teacher), size=given.size, epochs=given.epochs,
        )  # fmt: skip
        print(f"{name}: {student.top1:.1%} top-1 from {len(images.files())} images")
    print(f"open {focusdd.report(given.out)} in a browser")


if __name__ == "__main__":
    main()
