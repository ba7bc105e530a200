"""Commands of every stage on a few images, with shards so small that there are many: for `kill.py`,
`disk_full.py` and tests/test_interruption.py.

    python benchmarks/interrupted.py extract ...

runs a command of focusdd with such shards; where the variable RECORD names a file, it is given the names of
all files that the command has written, a line each.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyarrow.parquet as pq
import torch

from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource

SMALL = {
    "focusdd.extraction.parts.SHARD": 16,
    "focusdd.composition.images.SHARD": 4,
    "focusdd.labels.label.BATCH": 8,
    "focusdd.labels.teacher.BATCH": 8,
    "focusdd.training.loop._SAVE_SECONDS": -1,  # a checkpoint after every epoch
}
TEACHER, VIT = str(WEIGHTS / "teacher"), str(WEIGHTS / "vit")
VIEWS = ("--extractor", VIT, "--batch-size", "8")
NET = ("--size", "32", "--epochs", "5", "--batch-size", "10")


class Stage(NamedTuple):
    """A command that fills the folder OUT, which lies beside those of the other stages."""

    words: tuple[str, ...]
    shards: tuple[str, ...] = ()
    """Patterns of the files below OUT that are a shard each, or the end of a stage within this one: once
    there, nobody writes them again."""
    begun_with: str = ""
    """The stage whose output lies in OUT before."""


STAGES = {
    "extract": Stage(("extract", "PHOTOS", *VIEWS, "--tile", "32", "--out", "OUT/index"), ("index/parts/*",)),
    "distill": Stage(
        ("distill", "PHOTOS", "--index", "extract/index", "--ipc", "2", "--size", "64", "--out", "OUT/tiny"),
        ("tiny/train/*/*.jpg",),
    ),
    "distill rded": Stage(
        ("distill", "PHOTOS", "--method", "rded", "--teacher", TEACHER, "--ipc", "1", "--size", "64",
         "--out", "OUT/tiny"),
        ("tiny/train/*/*.jpg", "tiny/chosen/*"),
    ),
    "label": Stage(
        ("label", "OUT/tiny", "--teacher", TEACHER, "--kind", "both", "--size", "32", "--num-crops", "4"),
        ("tiny/labels/*/parts/*", "tiny/labels/*/done.json"),
        "distill",
    ),
    "publish": Stage(("publish", "OUT/tiny"), (), "distill"),
    "fit": Stage(("fit", "PHOTOS", "--model", "test_resnet", *NET, "--out", "OUT/net")),
    "train": Stage(
        ("train", "distill/tiny", "--val", "PHOTOS", "--labels", "hard", "--student", "test_resnet", *NET,
         "--out", "OUT/net"),
    ),
    "compare": Stage(
        ("compare", "PHOTOS", "--extractor", VIT, "--extract.batch-size", "8", "--methods", "focus", "--ipc",
         "1", "--seeds", "1", "--students", "test_resnet", "--labels", "hard", "--corruptions",
         "--distill.size", "64", "--train.size", "32", "--train.epochs", "2", "--train.batch-size", "5",
         "--out", "OUT"),
        ("index/parts/*", "index/done.json", "distilled/*/train/*/*.jpg", "*/*/done.json"),
    ),
    "detect distill": Stage(
        ("detect", "distill", "BOXES", *VIEWS, "--ipc", "1", "--size", "128", "--out", "OUT/tiny"),
        ("tiny-index/parts/*", "tiny-index/done.json", "tiny/images/*/*.jpg"),
    ),
    "detect train": Stage(
        ("detect", "train", "detect distill/tiny", "--val", "demo:4", "--size", "32", "--steps", "4",
         "--batch-size", "2", "--mosaic", "0", "--out", "OUT/net"),
    ),
    "detect compare": Stage(
        ("detect", "compare", "BOXES", "--val", "demo:4", "--extractor", VIT, "--methods", "focus", "--ipc",
         "1", "--seeds", "1", "--extract.batch-size", "8", "--distill.size", "128", "--train.size", "32",
         "--train.steps", "2", "--train.batch-size", "2", "--train.mosaic", "0", "--out", "OUT"),
        ("index/parts/*", "index/done.json", "distilled/*/images/*/*.jpg", "*/*/done.json"),
    ),
    "report": Stage(("report", "OUT"), (), "train"),
}  # fmt: skip


class Bench(NamedTuple):
    """A folder that holds the photographs and, below the name of each stage, what it makes undisturbed."""

    folder: Path
    photos: str
    boxes: str

    @classmethod
    def of_demo(cls, folder: Path, per_class: int) -> Bench:
        """Draws the photographs, with others for validation."""
        for split, demo in (("train", DemoSource(per_class)), ("val", DemoSource(1, "val"))):
            for key, _ in demo.records:
                path = folder / "photos" / split / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(demo.read(key))
        return cls(folder, str(folder / "photos"), f"demo:{per_class}")

    def words(self, name: str, out: Path) -> list[str]:
        """A stage's command with another folder beside the undisturbed one."""
        places = {"PHOTOS": self.photos, "BOXES": self.boxes}
        return [places.get(word) or self._place(word, out) for word in STAGES[name].words]

    def _place(self, word: str, out: Path) -> str:
        first, _, rest = word.partition("/")
        if first == "OUT":
            return str(out / rest)
        return str(self.folder / word) if rest and first in STAGES else word

    def begin(self, name: str, out: Path) -> None:
        """Puts what a stage begins with into its folder."""
        shutil.rmtree(out, ignore_errors=True)
        if before := STAGES[name].begun_with:
            shutil.copytree(self.folder / before, out, dirs_exist_ok=True)  # `out` may be a disk of its own

    def same(self, name: str, out: Path) -> bool:
        """Whether a folder holds, byte by byte, what the undisturbed run made."""
        return made(out, name) == made(self.folder / name, name)


def made(folder: Path, name: str) -> dict[str, str]:
    """Every file below a folder, hidden ones too, by the hash of what has to be the same every time.

    Left out: run.json, which holds times and memory, and what is copied from it: the page, where more than
    the page is made, and some columns of results.csv. And stages.json,
    which holds the command with its --out.
    """
    found = {}
    varies = {"run.json", "stages.json"} | ({"report.html"} if name != "report" else set())
    for path in folder.rglob("*"):
        if path.is_dir() or path.name in varies:
            continue
        data = path.read_bytes()
        if path.name == "results.csv":
            rows = csv.DictReader(data.decode().splitlines())
            other = ("seconds_", "memory_", "date", "commit")
            kept = [{k: v for k, v in row.items() if not k.startswith(other)} for row in rows]
            data = repr(kept).encode()
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


class Finished(NamedTuple):
    """What of a stage is finished."""

    shards: set[Path]
    images: dict[Path, int]
    """Images in the parts of every index that is not finished."""
    epochs: int
    """Epochs in the checkpoint of a training that is not finished."""

    @classmethod
    def of(cls, name: str, out: Path) -> Finished:
        """What is finished in a folder."""
        shards = {
            path for pattern in STAGES[name].shards for path in out.glob(pattern) if path.name[0] != "."
        }
        parts = [path for path in out.rglob("parts/*.parquet") if path.name[0] != "."]
        indexes = {path.parents[1] for path in parts if not (path.parents[1] / "done.json").exists()}
        saved = [path for path in out.rglob("resume.pt") if not (path.parent / "done.json").exists()]
        epochs = sum(int(torch.load(path, weights_only=True)["done"]) for path in saved)
        return cls(shards, {index: _images(index) for index in indexes}, epochs)

    @property
    def number(self) -> int:
        """Shards and epochs."""
        return len(self.shards) + self.epochs

    def made_again(self, written: list[Path], said: str) -> int:
        """How many of them the next run has made again, by the files it wrote and what it said.

        The parts of an index are written again when a probe has judged, but run.json tells how many images
        were seen.
        """
        again = sum(path in self.shards and path.suffix != ".parquet" for path in set(written))
        for index, images in self.images.items():
            seen = json.loads((index / "run.json").read_text())["images"]
            again += (seen - (_images(index) - images)) // SMALL["focusdd.extraction.parts.SHARD"]
        resumed = re.findall(r"^resuming: (\d+) of \d+ epochs", said, re.MULTILINE)
        return again + self.epochs - sum(int(epochs) for epochs in resumed)


def _images(index: Path) -> int:
    return sum(pq.read_metadata(part).num_rows for part in (index / "parts").glob("part-*.parquet"))


@contextmanager
def recorded(names: list[Path]) -> Iterator[None]:
    """Notes every file that is given its final name while the block runs."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        real(source, target)
        names.append(Path(target))

    with patch.object(os, "replace", replace):
        yield


@contextmanager
def small_shards() -> Iterator[None]:
    """Small shards in this process while the block runs."""
    with ExitStack() as stack:
        for name, value in SMALL.items():
            stack.enter_context(patch(name, value))
        yield


if __name__ == "__main__":
    from focusdd.__main__ import main

    written: list[Path] = []
    try:
        with small_shards(), recorded(written):
            main()
    finally:
        if "RECORD" in os.environ:
            Path(os.environ["RECORD"]).write_text("".join(f"{path}\n" for path in written))
