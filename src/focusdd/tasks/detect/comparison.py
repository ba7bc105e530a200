"""`detect compare`: methods x budgets x detectors x seeds on one source, a row of `results.csv` for each.

Every index, distilled dataset and detector is a stage of its own, so an interrupted comparison goes on where
it was, and one that was extended does only what is new.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from focusdd.core.console import say, warn
from focusdd.core.errors import FocusError
from focusdd.core.files import csv_text, read_json, write_whole
from focusdd.core.lock import locked
from focusdd.extraction.index import Index
from focusdd.settings import DetectCompareSettings, DetectDistillSettings
from focusdd.settings.resolve import idle_in_all, not_given, resolve
from focusdd.sources.base import DetectionSource
from focusdd.tasks.detect.extract import extract_objects
from focusdd.tasks.detect.pipeline import distill
from focusdd.tasks.detect.select import WITH_INDEX
from focusdd.tasks.detect.train import train

RESULTS = "results.csv"
_TEXT, _COUNT, _NUMBER = pa.string(), pa.int32(), pa.float64()
SCHEMA = pa.schema(
    [
        ("method", _TEXT),
        ("budget", _TEXT),  # "ipc 10", "0.034 of all", or "all" for full
        ("images", _COUNT),
        ("objects", _COUNT),  # labelled
        ("seed", _COUNT),
        ("detector", _TEXT),
        ("size", _COUNT),  # side of the detector's input, pixels
        ("steps", _COUNT),
        ("map", _NUMBER),  # mAP50-95 and mAP50, fractions, 0 to 1
        ("map50", _NUMBER),
        ("seconds_extract", _NUMBER),  # once for all datasets of the index
        ("seconds_distil", _NUMBER),
        ("seconds_train", _NUMBER),
        ("memory_train_mb", _COUNT),
        *(
            (name, _TEXT)
            for name in ("device", "commit", "focusdd", "torch", "ultralytics", "machine", "date")
        ),
    ]
)
_OWN = {  # what compare sets itself: the name of its own setting for each
    "extract": {"extractor": "extractor", "device": "device"},
    "distill": {"ipc": "ipc", "ratio": "ratio", "budget": "ratio", "method": "methods", "seed": "seeds"},
    "train": {"detector": "detectors", "seed": "seeds", "device": "device"},
}


class _Cell(NamedTuple):
    """One run of the comparison."""

    method: str
    budget: dict[str, Any]
    """Settings of the budget; nothing for full."""
    detector: str
    seed: int

    @property
    def shown(self) -> str:
        if "ratio" in self.budget:
            return f"{self.budget['ratio']:.3g} of all"
        return f"ipc {self.budget['ipc']}" if self.budget else "all"


def compare(
    source: DetectionSource,
    val: DetectionSource,
    out: Path | str,
    settings: DetectCompareSettings | None = None,
    *,
    overwrite: bool = False,
) -> pa.Table:
    """Distils, trains and scores every combination, and writes `results.csv` into `out` after every run.

    All methods share composition and recipe, and every detector takes the same number of steps.

    Returns:
        The rows of `results.csv`; its columns are SCHEMA.

    Raises:
        FocusError: a setting is missing or does not fit, or `out` is in use; what is finished stays.
    """
    settings, out = settings or DetectCompareSettings(), Path(out)
    _check(settings)
    with locked(out):
        return _compare(source, val, out, settings, overwrite)


def _compare(
    source: DetectionSource, val: DetectionSource, out: Path, settings: DetectCompareSettings, overwrite: bool
) -> pa.Table:
    index = None
    if any(method in WITH_INDEX for method in settings.methods):
        own = {"extractor": settings.extractor, "device": settings.device}
        reading = not_given(settings.extract.model_copy(update=own))
        index = extract_objects(source, out / "index", reading, overwrite=overwrite)
    cells = _cells(settings)
    for remark in _remarks(settings, cells, index):
        warn(remark)
    rows = []
    for number, cell in enumerate(cells, 1):
        say(f"{number} of {len(cells)}: {cell.method}, {cell.shown}, {cell.detector}, seed {cell.seed}")
        rows.append(_run(cell, source, val, index, out, settings, overwrite))
        write_whole(out / RESULTS, csv_text(SCHEMA.names, rows))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _check(settings: DetectCompareSettings) -> None:
    for group, names in _OWN.items():
        for name in sorted(getattr(settings, group).model_fields_set & names.keys()):
            raise FocusError(f"{group}.{name} is what is compared: use --{names[name]}")
    if not settings.extractor and (wanting := [name for name in settings.methods if name in WITH_INDEX]):
        raise FocusError(
            f"method {wanting[0]} needs a ViT: give --extractor, a checkpoint folder or timm name"
        )


def _cells(settings: DetectCompareSettings) -> list[_Cell]:
    """All runs, seed by seed, so that an unfinished comparison has something of everything."""
    budgets: list[dict[str, Any]] = [{"ratio": ratio} for ratio in sorted(set(settings.ratio))]
    budgets += [{"ipc": ipc} for ipc in sorted(set(settings.ipc or (() if budgets else (10,))))]
    return [
        _Cell(method, budget, detector, seed)
        for seed in range(settings.seeds)
        for method in dict.fromkeys([*settings.methods, "random"])
        for budget in (budgets if method != "full" else [{}])
        for detector in dict.fromkeys(settings.detectors)
    ]


def _distilling(settings: DetectCompareSettings, cell: _Cell) -> DetectDistillSettings:
    own = {"method": cell.method, "seed": cell.seed, **cell.budget}
    return not_given(settings.distill.model_copy(update=own))


def _remarks(settings: DetectCompareSettings, cells: Sequence[_Cell], index: Index | None) -> list[str]:
    """What of the user's settings has no effect in any run."""
    methods = dict.fromkeys(cell.method for cell in cells)
    reader = "extractor" if index is not None else f"methods {' '.join(methods)}"
    reading = resolve(settings.extract, reader=reader, task="object detection")
    runs = [resolve(_distilling(settings, cell)) for cell in cells]
    return [
        *resolve(settings, reader=reader).remarks,
        *idle_in_all(settings.extract, [reading], "extract."),
        *idle_in_all(settings.distill, runs, "distill."),
    ]


def _run(
    cell: _Cell,
    source: DetectionSource,
    val: DetectionSource,
    index: Index | None,
    out: Path,
    settings: DetectCompareSettings,
    overwrite: bool,
) -> dict[str, Any]:
    """Runs one cell, or finds it finished; returns its row."""
    wanted = _distilling(settings, cell)
    name = "-".join([cell.method, *(f"{key}{value:g}" for key, value in cell.budget.items())])
    seeded = f"{name}-seed{cell.seed}"
    place = out / "distilled" / (name if cell.method in ("full", "selection") else seeded)
    chosen_from = index if cell.method in WITH_INDEX else None
    made = distill(source, place, wanted, index=chosen_from, overwrite=overwrite)
    recipe = settings.train.model_copy(
        update={"detector": cell.detector, "seed": cell.seed, "device": settings.device}
    )
    folder = out / "detectors" / f"{seeded}-{cell.detector}"
    result = train(made, val, folder, recipe, overwrite=overwrite)
    trained, distilled = read_json(folder / "run.json"), read_json(place / "run.json")
    extracted = read_json(index.folder / "run.json") if index is not None else {}
    return {
        "method": cell.method,
        "budget": cell.shown,
        "images": made.info["images"],
        "objects": sum(made.info["objects"].values()),
        "seed": cell.seed,
        "detector": cell.detector,
        "size": recipe.size,
        "steps": result["steps"],
        "map": result["map"],
        "map50": result["map50"],
        "seconds_extract": extracted.get("seconds_total") if cell.method in WITH_INDEX else None,
        "seconds_distil": distilled["seconds_total"],
        "seconds_train": trained["seconds"]["train"],
        "memory_train_mb": trained["peak_memory_mb"],
        "torch": trained["versions"]["torch"],
        **{
            name: trained.get(name)
            for name in ("device", "commit", "focusdd", "ultralytics", "machine", "date")
        },
    }
