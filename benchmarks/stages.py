"""Time and peak memory of every stage on one source, each in a process of its own.

    python benchmarks/stages.py DATA --extractor VIT --work runs/stages [--view-size 128]

Extract runs only when its output is not there; distil runs anew at three sizes from the same index.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tables import publish


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--view-size", type=int, default=128)
    options = parser.parse_args()
    index = options.work / "index"
    run(
        "extract",
        options.data,
        "--extractor",
        options.extractor,
        "--input-size",
        options.view_size,
        "--out",
        index,
    )
    rows = [row(f"extract, {options.view_size} px", index)]
    for ipc in (10, 50, 100):
        out = options.work / f"ipc{ipc}"
        shutil.rmtree(out, ignore_errors=True)
        run("distill", options.data, "--index", index, "--ipc", ipc, "--out", out)
        rows.append(row(f"distill, ipc {ipc}, from the index", out))
    publish("stages-imagenette", rows)


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "focusdd", *map(str, words)], check=True)


def row(stage: str, out: Path) -> dict[str, str]:
    made = json.loads((out / "run.json").read_text())
    return {
        "stage": stage,
        "seconds": f"{made['seconds_total']:.1f}",
        "images": str(made["images"]),
        "images per second": f"{made['images'] / made['seconds_total']:.0f}",
        "peak memory MB": str(made["peak_memory_mb"]),
    }


if __name__ == "__main__":
    main()
