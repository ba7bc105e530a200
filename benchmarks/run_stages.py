"""What every stage of a finished `focusdd run` took, from the records in its folder: a CSV line per stage.

python benchmarks/run_stages.py runs/photos --csv results/run-photos.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tables import append, command, ran_on, read

COLUMNS = ["folder", "stage", "images", "epochs", "top1", "seconds", "command", "commit", "torch",
           "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--csv", type=Path, required=True)
    options = parser.parse_args()
    for folder, stage in read(options.run / "stages.json")["stages"].items():
        cost, counts = (read(options.run / folder / f"{name}.json") for name in ("run", "done"))
        typed = command(cost["command"].split()).removeprefix("python ")
        append(options.csv, cost | {
            "folder": folder, "stage": stage, "command": typed, "torch": cost["versions"]["torch"],
            "machine": ran_on({"device": "cpu"} | cost), "seconds": cost["seconds_total"],
            "top1": counts["counts"].get("val_top1", counts["counts"].get("top1", "")),
        }, COLUMNS)  # fmt: skip


if __name__ == "__main__":
    main()
