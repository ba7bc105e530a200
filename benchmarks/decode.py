"""Images decoded per second, by the scale of decoding and by what follows.

    python benchmarks/decode.py [FOLDER] [--images 200] [--side 128] [--rounds 3]

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size in less time than at full size; focusdd takes the
smallest scale that has enough pixels. Without FOLDER the images are JPEGs of 500 x 375 pixels, drawn from
a seed. Figures are the best of the rounds, on CPU cores.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from drawn import photograph
from tables import publish

from focusdd.core.images import decode, resize, square

SCALES = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200, help="the first so many of FOLDER, or drawn")
    parser.add_argument("--side", type=int, default=128, help="of what an image is resized to")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sets = {"drawn, 500 x 375": [photograph(seed, 500, 375) for seed in range(options.images)]}
    if options.folder is not None:
        paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        step = max(1, len(paths) // options.images)
        sets[options.folder.name] = [path.read_bytes() for path in paths[::step][: options.images]]
    rows = [row for name, files in sets.items() for row in rates(name, files, options)]
    publish("decode", rows)


def rates(name: str, files: list[bytes], options: argparse.Namespace) -> list[dict[str, str]]:
    """Every way in turns: at every scale, decoded alone and made a view or a tile of that side."""
    sides = [min(decode(data, least_side=1)[1:]) for data in files]
    ways: dict[tuple[int, str], Callable[[int], object]] = {}
    for scale in SCALES:

        def plain(row: int, scale: int = scale) -> object:
            return decode(files[row], least_side=sides[row] // scale)[0]

        def view(row: int, scale: int = scale) -> object:
            return square(decode(files[row], least_side=sides[row] // scale)[0], options.side)

        def tile(row: int, scale: int = scale) -> object:
            image = decode(files[row], least_side=sides[row] // scale)[0]
            return resize(image, options.side, options.side)

        ways |= {(scale, "no more"): plain, (scale, f"view of {options.side} px"): view,
                 (scale, f"tile of {options.side} px"): tile}  # fmt: skip
    threads = os.cpu_count() or 1
    seconds: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    together: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(options.rounds):
            for way, work in ways.items():
                start = time.perf_counter()
                for row in range(len(files)):
                    work(row)
                middle = time.perf_counter()
                list(pool.map(work, range(len(files))))
                seconds[way].append(middle - start)
                together[way].append(time.perf_counter() - middle)
    return [
        {
            "images": name,
            "kB per file": f"{sum(map(len, files)) / len(files) / 1000:.0f}",
            "decoded at": "full size" if scale == 1 else f"1/{scale}",
            "then": what,
            "images per second, 1 thread": f"{len(files) / min(seconds[scale, what]):.0f}",
            f"{threads} threads": f"{len(files) / min(together[scale, what]):.0f}",
        }
        for scale, what in ways
    ]


if __name__ == "__main__":
    main()
