"""A view in the slow and obvious way."""

from __future__ import annotations

import numpy as np


def painted(view: np.void, own: np.ndarray, other: np.ndarray, grid: int) -> np.ndarray:
    """The crop of a view in the slow and obvious way: canvases (side, side, ...) cut up and pasted."""
    side = len(own)

    def ordered(image: np.ndarray) -> np.ndarray:
        edges = [round(side * step / grid) for step in range(grid + 1)]
        canvas = image.copy()
        for cell, tile in enumerate(view["order"]):
            (y, x), (v, u) = divmod(cell, grid), divmod(int(tile), grid)
            canvas[edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = image[
                edges[v] : edges[v + 1], edges[u] : edges[u + 1]
            ]
        return canvas

    canvas, partner = ordered(own), ordered(other)
    x0, y0, x1, y1 = view["mix"]
    canvas[y0:y1, x0:x1] = partner[y0:y1, x0:x1]
    x0, y0, x1, y1 = view["crop"]
    canvas = canvas[y0:y1, x0:x1]
    return canvas[:, ::-1] if view["flip"] else canvas
