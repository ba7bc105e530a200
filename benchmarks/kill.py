"""kill -9 at random moments over all stages, then the same command again.

    python benchmarks/kill.py --work runs/kill [--data PHOTOS] [--kills 50] [--seed 0]

Every stage runs once undisturbed. Then it starts again in a fresh folder, once for each kill, and its process
group is killed at a random moment of the undisturbed duration. The same command runs again, and all files but
those that `interrupted.made` leaves out are compared with the undisturbed ones, byte by byte. A shard or an
epoch that was finished before the kill must not be made again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from interrupted import STAGES, Bench, Finished
from rich.console import Console
from tables import publish

RUN = [sys.executable, str(Path(__file__).with_name("interrupted.py"))]
SAY = Console(highlight=False).print


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", help="a source of photographs; default: 12 demo images of each class")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bench = Bench.of_demo(options.work.absolute(), 12)
    if options.data:
        bench = bench._replace(photos=options.data)
    rng = random.Random(options.seed)
    rows = []
    for number, name in enumerate(STAGES):
        kills = options.kills // len(STAGES) + (number < options.kills % len(STAGES))
        seconds = undisturbed(name, bench)
        found = [killed(name, bench, rng.uniform(0, seconds)) for _ in range(kills)]
        moments = Counter(one.moment for one in found)
        rows.append(
            {
                "stage": name,
                "seconds": f"{seconds:.1f}",
                "kills": str(kills),
                **{moment: str(moments[moment]) for moment in ("before", "inside", "after")},
                "identical after": str(sum(one.identical for one in found)),
                "finished shards or epochs": str(sum(one.finished for one in found)),
                "of them made again": str(sum(one.again for one in found)),
            }
        )
        SAY(" ".join(f"{key} {value}," for key, value in rows[-1].items()))
    total = {name: str(sum(int(row[name]) for row in rows)) for name in list(rows[0])[2:]}
    publish("kill", [*rows, {"stage": "all", "seconds": "", **total}])


def undisturbed(name: str, bench: Bench) -> float:
    """Runs a stage; returns its seconds."""
    out = bench.folder / name
    bench.begin(name, out)
    start = time.monotonic()
    subprocess.run([*RUN, *bench.words(name, out)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


class Killed(NamedTuple):
    """What came of a kill."""

    moment: str
    """Before the stage wrote anything, inside, or after its end."""
    identical: bool
    finished: int
    """Shards or epochs that were finished when the kill came,"""
    again: int
    """and those of them that were made again."""


def killed(name: str, bench: Bench, seconds: float) -> Killed:
    """Kills a stage after so many seconds and runs it again."""
    out, record = bench.folder / f"{name} killed", bench.folder / "written.txt"
    bench.begin(name, out)
    words = [*RUN, *bench.words(name, out)]
    begun = files(out)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
        moment = "after"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        moment = "before" if files(out) == begun else "inside"
    finished = Finished.of(name, out)
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"RECORD": str(record)})
    if done.returncode:
        SAY(f"{name}, killed after {seconds:.2f} s, then: {done.stderr}", markup=False)
        return Killed(moment, False, finished.number, 0)
    written = [Path(line) for line in record.read_text().splitlines()]
    return Killed(moment, bench.same(name, out), finished.number, finished.made_again(written, done.stdout))


def files(out: Path) -> set[Path]:
    """Everything below a folder."""
    return set(out.rglob("*")) if out.exists() else set()


if __name__ == "__main__":
    main()
