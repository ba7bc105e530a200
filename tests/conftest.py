"""Pictures and folders that many tests need, made on the spot: nothing is stored or downloaded."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from focusdd.core.console import warn_once

# tiny tensors: threads that wait for each other on a busy machine make them fifty times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never asks the network
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

Draw = Callable[..., Image.Image]
_EXTRAS = {
    "datasets",
    "faster_coco_eval",
    "huggingface_hub",
    "ray",
    "torchmetrics",
    "ultralytics",
    "webdataset",
}


def _missing(error: BaseException | None) -> str:
    """The optional package whose absence an error comes from; "" for any other error."""
    while error is not None:
        name = (getattr(error, "name", None) or "") if isinstance(error, ModuleNotFoundError) else ""
        if name.partition(".")[0] in _EXTRAS:
            return name
        error = error.__cause__ or error.__context__
    return ""


@pytest.fixture(autouse=True)
def _nothing_said_before() -> None:
    """What is said once in a process is said again in every test."""
    warn_once.cache_clear()
    if (checks := sys.modules.get("focusdd.models.checks")) is not None:  # importing it takes seconds
        checks._scored.clear()


@pytest.fixture(autouse=True)
def _as_many_threads_as_before() -> Iterator[None]:
    """A training's bytes depend on this number: no test may leave another one to those after it."""
    before = _threads()
    yield
    assert before in (None, _threads()), "the test has changed the number of PyTorch's threads"


def _threads() -> int | None:
    torch = sys.modules.get("torch")  # importing it takes seconds
    return None if torch is None else torch.get_num_threads()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """A test that needs an extra which is not installed is skipped; a GPU's machine has what it has."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """As for the test, for its fixtures."""
    return (yield from _skipping())


def _skipping() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except Exception as error:
        if name := _missing(error):
            pytest.skip(f"{name} is not installed")
        raise


def _draw(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture without symmetry: two smooth gradients, and hard-edged boxes placed by the seed."""
    rng = np.random.default_rng([seed, width, height])
    pixels = np.empty((height, width, 3))
    pixels[..., 0] = np.linspace(0, 200, width)
    pixels[..., 1] = np.linspace(220, 20, height)[:, None]
    pixels[..., 2] = rng.integers(0, 256)
    for _ in range(4):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (slice(y, y + max(1, height // 3)), slice(x, x + max(1, width // 4)))
        pixels[box] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="session")
def draw() -> Draw:
    """draw(width, height, seed=0): a picture that looks different from every side."""
    return _draw


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """encoded(picture, format="PNG", **options): the bytes of a file of that format."""

    def save(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return save


@pytest.fixture
def image_folder(tmp_path: Path, draw: Draw) -> Callable[..., Path]:
    """image_folder(classes, per_class=3, size=(40, 30), suffix="png"): writes images/<class>/<n>.<suffix>."""

    def make(
        classes: Sequence[str] = ("apple", "pear"),
        per_class: int = 3,
        size: tuple[int, int] = (40, 30),
        suffix: str = "png",
        root: Path | None = None,
    ) -> Path:
        root = tmp_path / "images" if root is None else root
        for label, name in enumerate(classes):
            (root / name).mkdir(parents=True)
            for number in range(per_class):
                draw(*size, seed=1000 * label + number).save(root / name / f"{number:03d}.{suffix}")
        return root

    return make


@pytest.fixture
def make_index(tmp_path: Path) -> Callable[..., Any]:
    """make_index(counts, sizes=None, out=None, fingerprint="x", seed=0, **settings): made without a model.

    `counts` are the images of each class ("bee/000.png", ...); `sizes` their (width, height), else random.
    Attention has one random peak, confidence is random; the rest follows from these as in `extract`.
    """
    # imported late: the variables above have to be set before torch is there
    import pyarrow as pa

    from focusdd.core.files import write_json
    from focusdd.core.stage import Stage, Workspace, run_stage
    from focusdd.extraction.index import Index, from_bytes, open_index, schema, to_bytes, write_part
    from focusdd.extraction.patches import attention_area, key_patches
    from focusdd.settings import ExtractSettings

    def make(
        counts: dict[str, int],
        sizes: tuple[int, int] | None = None,
        out: Path | None = None,
        fingerprint: str = "x",
        seed: int = 0,
        suffix: str = "png",
        **options: Any,
    ) -> Index:
        settings = ExtractSettings(extractor="none", **options)
        out = tmp_path / "index" if out is None else out
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(len(counts)), list(counts.values()))
        n, side = len(labels), 7
        wide = rng.integers(40, 400, (n, 2)) if sizes is None else np.tile(sizes, (n, 1))
        peak = rng.uniform(0, side, (n, 1, 1, 2))
        places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1) + 0.5
        stored = to_bytes(np.exp(-((places - peak) ** 2).sum(-1) / rng.uniform(1, 6, (n, 1, 1))) + 0.02)
        boxes, mass = key_patches(from_bytes(stored), wide, settings, settings.tile)
        names = ("x0", "y0", "x1", "y1", "mass")
        patches = np.concatenate([boxes, mass[..., None]], axis=2).tolist()
        columns = {
            "key": [f"{name}/{i:03d}.{suffix}" for name, count in counts.items() for i in range(count)],
            "label": labels.astype(np.int32),
            "hash": [""] * n,
            "width": wide[:, 0].astype(np.int32),
            "height": wide[:, 1].astype(np.int32),
            "confidence": rng.random(n, dtype=np.float32),
            "predicted": labels.astype(np.int32),
            "mass": np.minimum(mass.sum(1), 1).astype(np.float32),
            "area": attention_area(from_bytes(stored), settings.share).astype(np.float32),
            "patches": [[dict(zip(names, patch, strict=True)) for patch in image] for image in patches],
            "attention": [grid.tobytes() for grid in stored],
            "feature": list(rng.random((n, 4)).astype(np.float16)),
        }
        table = pa.table(columns, schema=schema(4))
        inputs = {"source": fingerprint, "extractor": "none"}

        def fill(work: Workspace) -> dict[str, Any]:
            (out / "parts").mkdir()
            for number, start in enumerate(range(0, n, 16)):
                write_part(
                    out / "parts" / f"part-{number:05d}.parquet", table.slice(start, 16), {"skipped": []}
                )
            info = {
                "key": work.key,
                "source": {"name": "source", "split": "train", "fingerprint": fingerprint},
                "extractor": {"name": "none", "weights": "none", "confidence": "head", "accuracy": 0.9},
                "settings": settings.model_dump(),
                "grid": [side, side],
                "classes": list(counts),
                "class_names": list(counts),
                "counts": {"images": n, "skipped": 0},
                "skipped": [],
                "content": "x",
            }
            write_json(out / "index.json", info)
            return {"images": n, "skipped": 0}

        return open_index(run_stage(Stage("extract", 1, settings.model_dump(), inputs), out, fill))

    return make
