"""Every stage on a disk that fills up, then on a larger one. The disks are file systems in memory.

    python benchmarks/disk_full.py --work runs/disk_full [--sizes 2] [--seed 0]

Needs Linux, and the right to mount for itself (`unshare --map-root-user --mount`), which users mostly have.
Each stage runs once undisturbed. Then its folder is a disk with room for its inputs and a random part of its
output. The stage has to end with one sentence and exit code 2 and to leave no temporary files. On a larger
disk the same command runs again, and all files are compared with the undisturbed ones, byte by byte.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

from interrupted import STAGES, Bench
from kill import RUN, SAY, undisturbed
from tables import publish

ROOM = "64m"
BLOCK = 4096


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, default=2, help="disks for each stage")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "OWN_MOUNTS" not in os.environ:
        own = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv]
        os.execvpe(own[0], own, os.environ | {"OWN_MOUNTS": "1"})
    bench = Bench.of_demo(options.work.absolute(), 12)
    rng = random.Random(options.seed)
    rows = []
    for name in STAGES:
        undisturbed(name, bench)
        found = [filled(name, bench, rng) for _ in range(options.sizes)]
        words = ("one sentence, exit code 2", "no temporary files left", "identical after")
        counts = {
            word: str(sum(column)) for word, column in zip(words, zip(*found, strict=True), strict=True)
        }
        rows.append({"stage": name, "full disks": str(options.sizes), **counts})
        SAY(" ".join(f"{key} {value}," for key, value in rows[-1].items()))
    total = {word: str(sum(int(row[word]) for row in rows)) for word in list(rows[0])[1:]}
    publish("disk-full", [*rows, {"stage": "all", **total}])


def filled(name: str, bench: Bench, rng: random.Random) -> tuple[bool, bool, bool]:
    """Runs a stage on a disk that is too small: whether it said so, left nothing, and went on with room."""
    out = bench.folder / f"{name} full"
    out.mkdir(exist_ok=True)
    mount(out, "size=" + ROOM)
    try:
        bench.begin(name, out)
        least = max(1, used(out))  # a disk of none would have no bounds
        blocks = rng.randrange(least, max(least + 1, size_of(bench.folder / name)))
        mount(out, f"remount,size={blocks * BLOCK}")
        words = [*RUN, *bench.words(name, out)]
        done = subprocess.run(words, capture_output=True, text=True)
        said = done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        sentence = said and done.returncode == 2 and "free some space on the disk of" in done.stderr
        clean = not [path for path in out.rglob(".*") if path.name.endswith((".tmp", ".lock"))]
        if not sentence or not clean:
            SAY(f"{name}, {blocks} blocks: exit code {done.returncode}, {done.stderr}", markup=False)
        mount(out, "remount,size=" + ROOM)
        again = subprocess.run(words, capture_output=True, text=True)
        if again.returncode:
            SAY(f"{name}, {blocks} blocks, then: {again.stderr}", markup=False)
        return sentence, clean, again.returncode == 0 and bench.same(name, out)
    finally:
        subprocess.run(["umount", str(out)], check=True)


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def used(folder: Path) -> int:
    """Blocks of the disk that are taken."""
    disk = os.statvfs(folder)
    return disk.f_blocks - disk.f_bfree


def size_of(folder: Path) -> int:
    """Blocks that the files of a folder take up."""
    return sum(-(-path.stat().st_size // BLOCK) for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
