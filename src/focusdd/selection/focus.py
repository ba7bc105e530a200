"""Stage 2a: from the index to a plan. Pure table work: no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from focusdd.core.console import progress
from focusdd.core.errors import FocusError
from focusdd.extraction.index import Index
from focusdd.extraction.patches import PatchOptions, attention_area, key_patches, patch_options
from focusdd.extraction.realism import realism
from focusdd.selection.plan import Kind, Plan, Tile, image_name
from focusdd.settings import PatchSettings, SelectSettings

_CHUNK = 128  # images whose key patches are found at once: what a processor's cache holds


def select(index: Index, settings: SelectSettings, tile: int) -> Plan:
    """Chooses images, by realism as far as `keep` says, and lays out their key patches and views.

    Each tile of a distilled image comes from another image, as long as a class has enough. With
    `view_source` "same", the views show the images whose patches are there already.

    Args:
        settings: resolved.
        tile: side of a tile in pixels.

    Raises:
        FocusError: more views than tiles.
    """
    grid, num_views = settings.grid, settings.views
    cells = grid**2
    if num_views > cells:
        raise FocusError(f"views is {num_views}, but a {grid} x {grid} grid has {cells} tiles")
    if settings.view_source == "same" and num_views > cells - num_views:
        raise FocusError(
            f"{num_views} views of the images of {cells - num_views} patches: use fewer --views, "
            "or --view-source other"
        )
    rows = index.table(["key", "label", "width", "height", "confidence", "mass", "area"])
    labels = rows.column("label").to_numpy()
    boxes, box_mass, mass, area = _patches(index, settings, tile)
    score = realism(
        rows.column("confidence").to_numpy(),
        mass,
        area,
        (settings.confidence_power, settings.mass_power, settings.area_power),
    )
    keys = rows.column("key")
    sizes = np.stack([rows.column(name).to_numpy() for name in ("width", "height")], axis=1)
    clusters, distinct = settings.clusters and settings.keep > 0, settings.max_similarity < 1
    features = index.features() if clusters or distinct else None
    tiles: list[Tile] = []
    short = []
    for label, folder in enumerate(index.classes):
        mine = np.flatnonzero(labels == label)
        if not len(mine):
            raise FocusError(f"class {folder} has no readable image")
        rng = np.random.default_rng([settings.seed, 11, label])
        need = settings.ipc * cells
        order = drawn(mine, score, settings.keep, need, rng, settings.skip)
        if features is not None and clusters:
            order = (balanced if settings.balanced else spread)(order, features[order], settings.keep, need, rng)
        if features is not None and distinct:
            order = duplicates_last(order, features[order], settings.max_similarity, need)
        hands, enough = _share_out(order.tolist(), box_mass, settings)
        if not enough:
            short.append(folder)
        for number, (patches, views) in enumerate(hands):
            parts: list[tuple[Kind, int, Sequence[float]]] = [
                *(("patch", image, boxes[image, which]) for image, which in patches),
                *(("view", image, (0, 0, *sizes[image])) for image in views),
            ]
            for cell, (kind, image, box) in enumerate(parts):
                row, column = divmod(cell, grid)
                x0, y0, x1, y1 = (float(value) for value in box)
                tiles.append(
                    Tile(
                        image_name(folder, number), label, row, column, kind, keys[image].as_py(),
                        (x0, y0, x1, y1), int(sizes[image, 0]), int(sizes[image, 1]), float(score[image]),
                    )
                )  # fmt: skip
    return Plan(grid, tuple(tiles), tuple(short))


def _share_out(
    order: list[int], box_mass: np.ndarray, settings: SelectSettings
) -> tuple[list[tuple[list[tuple[int, int]], list[int]]], bool]:
    """What each distilled image of one class shows, and whether there were images enough without repeating.

    Args:
        order: rows of the class as they are to be used.
        box_mass: (n, K) attention mass of the key patches of every row.

    Returns:
        Per distilled image its patches (row, number of the patch) and its views (rows).
    """
    num_patches = settings.grid**2 - settings.views
    num_views = settings.views if settings.view_source == "other" else 0
    need_patches, need_views = settings.ipc * num_patches, settings.ipc * num_views
    candidates = [
        (image, number)
        for image in order
        for number in range(box_mass.shape[1])
        if number == 0 or box_mass[image, number] > 0
    ]
    # views come from images that give no patch; where there are too few for both, each gets its part
    spare = len(order) - need_views
    if len({image for image, _ in candidates[:need_patches]}) > spare:
        part = round(len(order) * num_patches / (num_patches + num_views))
        spare = max(1, min(part, len(order) - 1))
    givers = set(order[:spare])
    candidates = [candidate for candidate in candidates if candidate[0] in givers]
    dealt = _deal(candidates, settings.ipc, num_patches)
    used = {image for patches in dealt for image, _ in patches}
    rest = [image for image in order if image not in used] or order
    enough = len(candidates) >= need_patches and len(rest) >= need_views
    if settings.view_source == "same":
        return [(patches, [image for image, _ in patches][: settings.views]) for patches in dealt], enough
    views = [rest[number % len(rest)] for number in range(need_views)]
    return [
        (patches, views[number * num_views : (number + 1) * num_views])
        for number, patches in enumerate(dealt)
    ], enough


def _deal(candidates: list[tuple[int, int]], hands: int, each: int) -> list[list[tuple[int, int]]]:
    """Deals (image, patch) in order, from the start again at the end; a hand repeats no image if it can."""
    waiting: list[tuple[int, int]] = []
    dealt = []
    for _ in range(hands):
        hand: list[tuple[int, int]] = []
        for _ in range(each):
            held = {image for image, _ in hand}
            if all(image in held for image, _ in waiting):
                waiting += candidates
            at = next((at for at, (image, _) in enumerate(waiting) if image not in held), 0)
            hand.append(waiting.pop(at))
        dealt.append(hand)
    return dealt


def drawn(
    mine: np.ndarray, score: np.ndarray, keep: float, least: int, rng: np.random.Generator, skip: float = 0.0
) -> np.ndarray:
    """Rows of one class in the order they are used: highest score first, or drawn from the best.

    Args:
        mine: rows of the class; score: of all rows.
        keep: share of them among which is drawn at random, but at least `least`; 0 keeps the order.
        skip: share of them, highest score first, that come last.
    """
    order = mine[np.argsort(-score[mine], kind="stable")]
    order = np.roll(order, -round(skip * len(order)))
    if keep == 0:
        return order
    pool = _pool(len(order), keep, least)
    return np.concatenate([rng.permutation(order[:pool]), order[pool:]])


def spread(
    order: np.ndarray, features: np.ndarray, keep: float, need: int, rng: np.random.Generator
) -> np.ndarray:
    """Puts first what stands for the clusters of the rows that `drawn` draws from: of each the row nearest to
    its middle.

    Args:
        order: rows of one class as `drawn` gives them.
        features: (n, d) of these rows, in their order.
        keep: as it was drawn.
        need: how many clusters.
    """
    from sklearn.cluster import KMeans  # slow to import
    from threadpoolctl import threadpool_limits

    pool = _pool(len(order), keep, need)
    if need >= pool:
        return order
    points = features[:pool].astype(np.float32)
    seed = int(rng.integers(2**31))
    with threadpool_limits(1):  # sums in an order that does not depend on the machine
        found = KMeans(need, n_init=1, max_iter=30, random_state=seed).fit(points)
        away = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    nearest = np.lexsort((away, found.labels_))
    _, starts = np.unique(found.labels_[nearest], return_index=True)
    chosen = rng.permutation(nearest[starts])
    return np.concatenate([order[chosen], np.delete(order, chosen)])


def balanced(
    order: np.ndarray, features: np.ndarray, keep: float, need: int, rng: np.random.Generator
) -> np.ndarray:
    """Puts first as many rows of every cluster as its size says: half nearest to its centre, half at its margin."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    pool = _pool(len(order), keep, need)
    if need >= pool:
        return order
    points = features[:pool].astype(np.float32)
    seed = int(rng.integers(2**31))
    with threadpool_limits(1):
        found = KMeans(-(-need // 2), n_init=1, max_iter=30, random_state=seed).fit(points)
        away = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    sizes = np.bincount(found.labels_)
    exact = need * sizes / pool
    counts = np.floor(exact).astype(int)
    for cluster in np.argsort(-(exact - counts), kind="stable")[: need - counts.sum()]:
        counts[cluster] += 1
    chosen = []
    for cluster, count in enumerate(counts):
        mine = np.flatnonzero(found.labels_ == cluster)
        mine = mine[np.argsort(away[mine], kind="stable")]
        near = -(-count // 2)
        chosen += [*mine[:near], *mine[len(mine) - (count - near) :]]
    chosen = rng.permutation(np.array(chosen))
    return np.concatenate([order[chosen], np.delete(order, chosen)])


def duplicates_last(order: np.ndarray, features: np.ndarray, most: float, need: int) -> np.ndarray:
    """Puts last, in their order, rows that look much like one before them that is not put last itself.

    Args:
        order: rows of one class in the order they are used.
        features: (n, d) of these rows, in their order.
        most: cosine similarity above which two look alike.
        need: how many rows will be used; the others stay as they are.
    """
    norms = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    free = np.ones(len(order), dtype=bool)
    first: list[int] = []
    for row in range(len(order)):
        if len(first) == need:
            break
        if free[row]:
            first.append(row)
            free &= unit @ unit[row] <= most
    return np.concatenate([order[first], np.delete(order, first)])


def _pool(rows: int, keep: float, least: int) -> int:
    return min(rows, max(least, round(keep * rows)))


def _patches(
    index: Index, settings: PatchSettings, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, K, 4), mass per box (n, K), mass (n,) and area (n,); from the index when it has them so."""
    stored = index.info["settings"]
    options = patch_options(settings, tile)
    if all(stored[name] == value for name, value in asdict(options).items()):
        table = index.table(["patches", "mass", "area"])
        flat = table.column("patches").combine_chunks().flatten()
        values = np.stack([flat.field(name).to_numpy() for name in ("x0", "y0", "x1", "y1", "mass")], axis=1)
        values = values.reshape(len(table), settings.patches, 5).astype(np.float64)
        mass, area = (table.column(name).to_numpy() for name in ("mass", "area"))
        return values[..., :4], values[..., 4], mass, area
    table = index.table(["width", "height", "attention"])
    chunks = [table.slice(start, _CHUNK) for start in range(0, len(table), _CHUNK)]
    found = []
    with progress("key patches", len(table), "images") as advance, ThreadPoolExecutor(os.cpu_count()) as pool:
        for rows, part in zip(
            chunks, pool.map(lambda rows: _find(index, rows, options), chunks), strict=True
        ):
            found.append(part)
            advance(len(rows), "")
    boxes, box_mass, area = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return boxes, box_mass, np.minimum(box_mass.sum(1), 1.0), area


def _find(index: Index, rows: pa.Table, options: PatchOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grids = index.attention(rows)
    sizes = np.stack([rows.column(name).to_numpy() for name in ("width", "height")], axis=1)
    boxes, mass = key_patches(grids, sizes, options)
    return boxes, mass, attention_area(grids, options.share)
