"""A fixed random part of a folder of images, the same files every time: for where all of it is too much.

    python benchmarks/part.py DATA OUT --tenths 0 1 6 7 8 9

Files are linked, not copied, where the disk allows it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tenths", type=int, nargs="+", required=True, help="which of ten parts, 0 to 9")
    options = parser.parse_args()
    files = sorted(path for path in options.data.rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    chosen = [path for number, path in enumerate(files) if number % 10 in options.tenths]
    for path in chosen:
        there = options.out / path.relative_to(options.data)
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except OSError:  # another disk
            shutil.copy(path, there)
    print(f"{len(chosen)} of {len(files)} files in {options.out}")


if __name__ == "__main__":
    main()
