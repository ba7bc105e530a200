"""What the page says of single classes: images and objects, accuracy, the best class and the worst."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import numpy as np

from focusdd.reports.collect import Found, FoundDistilled, as_written
from focusdd.reports.galleries import boxed, picture_of_class
from focusdd.reports.results import Row, amount

_ROWS = 100
_COLUMNS = 24  # rows of the results that a table shows
_SIDE = 320  # pixels of the picture of the best class


class Column(NamedTuple):
    """A column of a table of classes."""

    title: str
    by_class: dict[str, float]
    """By the folder of the class: a count, or a share."""
    share: bool


def class_tables(found: Found, table: list[Row]) -> list[dict[str, Any]]:
    """One table for every list of classes: source images or objects, those that each dataset shows, and the
    score of each row of the results."""
    groups: dict[tuple[str, tuple[str, ...]], list[Any]] = defaultdict(list)
    for item in found.indexes:
        groups[item.index.info.get("task", "classify"), item.index.classes].append(item)
    for data in found.distilled:
        groups[data.task.name, data.data.classes].append(data)
    made = []
    for (task, folders), items in groups.items():
        infos = [_info(item) for item in items]
        scored = [row for row in table if row.task.name == task and row.per_class.keys() & set(folders)]
        titles = Counter(map(_title, scored))
        columns = _counts(items)
        for row in scored[:_COLUMNS]:
            apart = f", {row.training}" if titles[_title(row)] > 1 else ""
            columns.append(Column(_title(row) + apart, row.per_class, True))
        names = dict(zip(folders, map(str, infos[0]["class_names"]), strict=True))
        made.append(
            {
                "sources": list(dict.fromkeys(str(info["source"]["name"]) for info in infos)),
                "columns": columns,
                "lines": list(names.items())[:_ROWS],
                "left_out": max(0, len(names) - _ROWS),
                "columns_left_out": max(0, len(scored) - _COLUMNS),
                "extremes": _extremes(scored, names),
            }
        )
    return [one for one in made if one["columns"]]


def _counts(items: list[Any]) -> list[Column]:
    """Images in the source and those used, or objects in the source and those labelled."""
    columns: dict[str, Column] = {}
    several = len({_info(item)["source"]["fingerprint"] for item in items}) > 1
    for item in items:
        of = f" of {_info(item)['source']['name']}" if several else ""
        if not isinstance(item, FoundDistilled):
            if "task" in item.index.info:
                continue
            with as_written(item.index.folder / "parts"):
                labels = item.index.table(["label"]).column("label").to_numpy()
            title, counts = f"Source images{of}", _by_class(item.index.classes, labels)
        elif boxed(item):
            if None not in item.info["source_objects"].values():
                title, counts = f"Source objects{of}", item.info["source_objects"]
                columns.setdefault(title, Column(title, counts, False))
            title, counts = f"Objects in {item.title}{of}", item.info["objects"]
        else:
            used = {(tile.label, tile.key) for tile in item.plan.tiles}
            title = f"Used by {item.title}{of}"
            counts = _by_class(item.data.classes, [label for label, _ in used])
        columns.setdefault(title, Column(title, counts, False))
    return list(columns.values())


def _info(item: Any) -> dict[str, Any]:
    """What index.json or distilled.json says."""
    return dict(item.info if isinstance(item, FoundDistilled) else item.index.info)


def _by_class(folders: tuple[str, ...], labels: Any) -> dict[str, float]:
    return dict(zip(folders, np.bincount(labels, minlength=len(folders)).tolist(), strict=True))


def _title(row: Row) -> str:
    return ", ".join(filter(None, (f"{row.title}, {row.method} {amount(row.ipc)}", row.student, row.variant)))


def _extremes(scored: list[Row], names: dict[str, str]) -> tuple[Row, list[Any]] | None:
    """The first method at its largest budget, and its best class and its worst: a title, the scores of all
    methods there, and a picture. None where there are no two different scores."""
    if not scored:
        return None
    own = [row for row in scored if row.method == scored[0].method]
    row = max(own, key=lambda row: (row.augmented, row.ipc))
    shares = {name: share for name, share in row.per_class.items() if name in names and not math.isnan(share)}
    if len(set(shares.values())) < 2:
        return None
    alike = row.ipc, row.epochs
    here = [
        one
        for one in scored
        if (one.panel, one.augmented) == (row.panel, row.augmented)
        and (one.method == "full" or (one.ipc, one.epochs) == alike)
    ]
    cards = []
    for word, extreme in (("Best", max), ("Worst", min)):
        folder = extreme(shares, key=shares.__getitem__)
        others = {one.name: one.per_class.get(folder, math.nan) for one in here if one.name != row.name}
        picture = row.dataset and picture_of_class(row.dataset, list(names).index(folder), _SIDE)
        cards.append((f"{word} class: {names[folder]}", {row.name: shares[folder]} | others, picture))
    return row, cards
