"""Outputs of focusdd as its stages write them, made without a training, and a reader of their page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from focusdd.core.files import read_json, write_json
from focusdd.core.images import decode
from focusdd.core.manifest import update_manifest
from focusdd.core.stage import Stage, Workspace, run_stage
from focusdd.extraction.index import schema, write_part
from focusdd.settings import DistillSettings, ExtractSettings
from focusdd.sources import Source
from focusdd.sources.identity import content_hash
from focusdd.tasks.distill import distill

SIZE, GRID = 64, 8


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += "" if self.tags and self.tags[-1] == "style" else data

    def check(self) -> None:
        """Nothing runs, and nothing comes from elsewhere."""
        assert not {"script", "iframe", "object", "embed", "form", "base", "svg", "b"} & set(self.tags)
        assert not [name for name, _ in self.attributes if name.startswith("on")]
        links = [value for name, value in self.attributes if name in ("src", "href", "srcset", "action")]
        assert links
        inert = ("data:image/", "data:text/plain;", "#")
        assert all(link.startswith(inert) or link == "data:," for link in links)

    def words(self) -> str:
        return " ".join(self.text.split())


def make_index(source: Source, out: Path, skipped: list[tuple[str, str]] = []) -> Path:  # noqa: B006
    """An index as `extract` writes it, of an extractor that looks at one token per image."""
    extract = ExtractSettings(tile=SIZE // 2)
    own = extract.model_dump(exclude={"device", "extractor"}) | {"input_size": 32}
    rng = np.random.default_rng(0)
    table: dict[str, list[Any]] = {name: [] for name in schema(4).names}
    for record in source.records:
        data = source.read(record.key)
        _, width, height = decode(data)
        x0, y0, x1, y1 = source.box(record.key) if hasattr(source, "box") else (0, 0, width / 2, height / 2)
        attention = np.zeros((GRID, GRID), np.uint8)
        attention[int((y0 + y1) / 2 * GRID / height), int((x0 + x1) / 2 * GRID / width)] = 255
        patch = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "mass": 0.7}
        row = (
            record.key,
            record.label,
            content_hash(data),
            width,
            height,
            rng.random(),
            record.label,
            0.7,
            0.2,
            [patch],
        )
        for name, value in zip(table, (*row, attention.tobytes(), np.zeros(4, np.float16)), strict=True):
            table[name].append(value)
    inputs = {"source": source.fingerprint, "extractor": "weights"}

    def make(work: Workspace) -> dict[str, Any]:
        (out / "parts").mkdir()
        write_part(
            out / "parts" / "part-00000.parquet", pa.table(table, schema=schema(4)), {"skipped": skipped}
        )
        write_json(
            out / "index.json",
            {
                "key": work.key,
                "source": {"name": source.name, "split": source.split, "fingerprint": source.fingerprint},
                "extractor": {"name": "tiny_vit", "confidence": "head", "accuracy": 0.75},
                "settings": own,
                "grid": [GRID, GRID],
                "classes": list(source.classes),
                "class_names": list(source.class_names),
                "counts": {"images": len(source.records), "skipped": len(skipped)},
                "skipped": [list(item) for item in skipped],
                "content": "content",
            },
        )
        work.record.note(images=len(source.records))
        return {"images": len(source.records)}

    return run_stage(Stage("extract", 1, own, inputs), out, make)


def make_student(
    dataset: Path, out: Path, top1: float, student: str = "resnet18", seed: int = 0, **changes: Any
) -> Path:
    """A student's result as `train` writes it."""
    info = read_json(dataset / "distilled.json")
    settings = {"student": student, "labels": "soft", "epochs": 300, "size": 32, "seed": seed, **changes}

    def make(work: Workspace) -> dict[str, Any]:
        result = {
            "student": student,
            "top1": top1,
            "top5": 0.9,
            "per_class": dict.fromkeys(info["classes"], top1),
            "val": {"name": info["source"]["name"], "images": 10, "skipped": []},
            "distilled": {name: info[name] for name in ("key", "method", "ipc", "size", "grid", "seed")},
            "teacher": {"name": "teacher", "sample_accuracy": 0.8125},
            "settings": settings,
        }
        write_json(out / "result.json", result)
        work.record.seconds["train"] = 12.5
        work.record.note(device="cpu")
        return {"top1": top1}

    return run_stage(Stage("train", 1, settings, {"distilled": info["key"], "val": "v"}), out, make)


def make(source: Source, root: Path, method: str, ipc: int = 1, **changes: Any) -> Path:
    """A distilled dataset, made by the package itself."""
    settings = DistillSettings(method=method, ipc=ipc, size=SIZE, **changes)  # type: ignore[arg-type]
    name = "-".join([method, str(ipc), *map(str, changes.values())])
    distill(source, root / name, settings, index=root / "index" if method == "focus" else None)
    return root / name


def edit(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})
    if path.name != "done.json":
        update_manifest(path.parent, path.name)
