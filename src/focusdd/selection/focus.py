"""Stage 2a: from the index to a plan. Pure table work: no image is opened."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from focusdd.core.console import progress
from focusdd.core.cores import cpu_count
from focusdd.core.errors import FocusError
from focusdd.core.spelling import number_of
from focusdd.extraction.index import Index
from focusdd.extraction.patches import attention_area, key_patches
from focusdd.selection.plan import Kind, Piece, Plan, lay_out, no_image
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
        raise FocusError(f"views is {num_views}, but a {grid} x {grid} grid has {number_of(cells, 'tile')}")
    if settings.view_source == "same" and num_views > cells - num_views:
        raise FocusError(
            f"{number_of(num_views, 'view')} of the images of "
            f"{number_of(cells - num_views, 'patch', 'patches')}: use fewer --views, or --view-source other"
        )
    rows = index.table(["key", "label", "width", "height", "confidence"])
    keys, labels, sizes = rows.column("key"), rows.column("label").to_numpy(), _sizes(rows)
    boxes, box_mass, mass, area = _patches(index, settings, tile)
    powers = settings.confidence_power, settings.mass_power, settings.area_power
    score = realism(rows.column("confidence").to_numpy(), mass, area, powers)

    def piece(kind: Kind, row: int, box: np.ndarray) -> Piece:
        width, height = sizes[row].tolist()
        x0, y0, x1, y1 = (float(value) for value in box)
        return Piece(kind, keys[row].as_py(), (x0, y0, x1, y1), width, height, float(score[row]))

    clusters, distinct = settings.clusters and settings.keep > 0, settings.max_similarity < 1
    features = index.features() if clusters or distinct else None
    images: list[list[list[Piece]]] = []
    short = []
    for label, folder in enumerate(index.classes):
        mine = np.flatnonzero(labels == label)
        if not len(mine):
            raise no_image(folder)
        rng = np.random.default_rng([settings.seed, 11, label])
        need = settings.ipc * cells
        order = draw_order(mine, score, settings.keep, need, rng, settings.skip)
        if features is not None and clusters:
            order = clusters_first(order, features[order], settings.keep, need, rng, settings.skip)
        if features is not None and distinct:
            order = duplicates_last(order, features[order], settings.max_similarity, need)
        shown, enough = _share_out(order.tolist(), box_mass, settings)
        if not enough:
            short.append(folder)
        images.append(
            [
                [piece("patch", row, boxes[row, which]) for row, which in patches]
                + [piece("view", row, np.array([0, 0, *sizes[row]])) for row in views]
                for patches, views in shown
            ]
        )
    return Plan(grid, lay_out(index.classes, images, grid), tuple(short))


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


def realism(
    confidence: np.ndarray, mass: np.ndarray, area: np.ndarray, powers: tuple[float, float, float]
) -> np.ndarray:
    """realism = confidence^a * mass^b * (1 - area)^c, between 0 and 1.

    The paper combines the predicted class probability with the attention scores of the patches; how much of
    the attention, over how large an area. Its formula is not public: the exponents are settings.

    Args:
        confidence: (n,) probability of the image's own label.
        mass: (n,) share of the class attention inside the key patches.
        area: (n,) share of the image that holds a given share of the attention.
        powers: the exponents (a, b, c); 0 leaves a factor out.
    """
    a, b, c = powers
    return confidence**a * mass**b * (1 - area) ** c


def draw_order(
    mine: np.ndarray, score: np.ndarray, keep: float, least: int, rng: np.random.Generator, skip: float = 0.0
) -> np.ndarray:
    """Rows of one class in the order they are used: highest score first, or drawn from the best.

    Args:
        mine: rows of the class; score: of all rows.
        keep: share of them among which is drawn at random, but at least `least`; 0 keeps the order.
        skip: share of them, highest score first, that come last, and are not drawn.
    """
    order = mine[np.argsort(-score[mine], kind="stable")]
    order = np.roll(order, -round(skip * len(order)))
    if keep == 0:
        return order
    pool = _pool(len(order), keep, least, skip)
    return np.concatenate([rng.permutation(order[:pool]), order[pool:]])


def clusters_first(
    order: np.ndarray,
    features: np.ndarray,
    keep: float,
    need: int,
    rng: np.random.Generator,
    skip: float = 0.0,
) -> np.ndarray:
    """Clusters the rows that `draw_order` draws from, and puts first the row nearest to each centre.

    Args:
        order: rows of one class as `draw_order` gives them.
        features: (n, d) of these rows, in their order.
        keep, skip: as it was drawn.
        need: how many clusters.
    """
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    pool = _pool(len(order), keep, need, skip)
    if need >= pool:
        return order
    points = features[:pool].astype(np.float32)
    seed = int(rng.integers(2**31))
    with threadpool_limits(1), warnings.catch_warnings():  # sums in an order of no machine's own
        warnings.simplefilter("ignore", ConvergenceWarning)  # images that look the same make one cluster
        found = KMeans(need, n_init=1, max_iter=30, random_state=seed).fit(points)
        away = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    nearest = np.lexsort((away, found.labels_))
    _, starts = np.unique(found.labels_[nearest], return_index=True)
    chosen = rng.permutation(nearest[starts])
    return np.concatenate([order[chosen], np.delete(order, chosen)])


def duplicates_last(order: np.ndarray, features: np.ndarray, most: float, need: int) -> np.ndarray:
    """Puts last, in their order, rows that look much like one before them that is not put last itself.

    Args:
        order: rows of one class in the order they are used.
        features: (n, d) of these rows, in their order.
        most: cosine similarity above which two look alike.
        need: how many rows will be used; the others stay as they are.
    """
    first = distinct(features, most, need)
    return np.concatenate([order[first], np.delete(order, first)])


def distinct(features: np.ndarray, most: float, need: int) -> list[int]:
    """The first `need` rows of features (n, d) that look like none of these before them."""
    norms = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    free = np.ones(len(features), dtype=bool)
    first: list[int] = []
    for row in range(len(features)):
        if len(first) == need:
            break
        if free[row]:
            first.append(row)
            free &= unit @ unit[row] <= most
    return first


def _pool(rows: int, keep: float, least: int, skip: float) -> int:
    return min(rows - round(skip * rows), max(least, round(keep * rows)))


def _patches(
    index: Index, settings: PatchSettings, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, K, 4), mass per box (n, K), mass (n,) and area (n,); from the index when it has them so."""
    stored = index.info["settings"]
    wanted = {"tile": tile} | {name: getattr(settings, name) for name in PatchSettings.model_fields}
    if all(stored[name] == value for name, value in wanted.items()):
        table = index.table(["patches", "mass", "area"])
        flat = table.column("patches").combine_chunks().flatten()
        values = np.stack([flat.field(name).to_numpy() for name in ("x0", "y0", "x1", "y1", "mass")], axis=1)
        values = values.reshape(len(table), settings.patches, 5).astype(np.float64)
        mass, area = (table.column(name).to_numpy() for name in ("mass", "area"))
        return values[..., :4], values[..., 4], mass, area
    table = index.table(["width", "height", "attention"])
    chunks = [table.slice(start, _CHUNK) for start in range(0, len(table), _CHUNK)]
    found = []
    with progress("key patches", len(table), "images") as advance, ThreadPoolExecutor(cpu_count()) as pool:
        for part in pool.map(lambda rows: _find(index, rows, settings, tile), chunks):
            found.append(part)
            advance(len(part[0]), "")
    boxes, box_mass, area = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return boxes, box_mass, np.minimum(box_mass.sum(1), 1.0), area


def _find(
    index: Index, rows: pa.Table, settings: PatchSettings, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grids = index.attention(rows)
    boxes, mass = key_patches(grids, _sizes(rows), settings, tile)
    return boxes, mass, attention_area(grids, settings.share)


def _sizes(rows: pa.Table) -> np.ndarray:
    """Width and height (n, 2) in pixels of the images of rows."""
    return np.stack([rows.column(name).to_numpy() for name in ("width", "height")], axis=1)
