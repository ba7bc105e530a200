"""Compares selection methods and reads the table with pandas.

    python examples/compare_in_pandas.py photos --teacher runs/teacher --out runs/compare

Every combination of method, ipc and seed is distilled, trained and scored under the same recipe. The same
command continues where it was stopped, and makes only what is new when methods, ipc or seeds are added.
"""

from __future__ import annotations

import argparse

import pandas as pd

import focusdd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--extractor", help="a ViT; default: DINOv2's ViT-S/14")
    parser.add_argument("--methods", nargs="+", default=["focus", "rded", "random"])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=300)
    given = parser.parse_args()

    table = focusdd.compare(
        given.photos, given.photos, given.out,
        methods=tuple(given.methods), ipc=tuple(given.ipc), seeds=given.seeds, students=(given.student,),
        teacher=given.teacher, **({"extractor": given.extractor} if given.extractor else {}),
        distill=focusdd.DistillSettings(size=given.size),
        train=focusdd.TrainSettings(size=given.size, epochs=given.epochs),
    )  # fmt: skip

    runs = table.to_pandas()  # a row per run, as in results.csv
    scores = runs.pivot_table(values="top1", index="ipc", columns="method", aggfunc=["mean", "std"])
    with pd.option_context("display.float_format", "{:.1%}".format):
        print(scores)
    seconds = runs.groupby("method")[["seconds_distil", "seconds_train"]].mean()
    print(seconds.round(1))


if __name__ == "__main__":
    main()
