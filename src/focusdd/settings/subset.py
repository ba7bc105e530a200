"""Which original images of a source make up a subset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from focusdd.settings.base import Count, Only, Seed, Settings, Share

SubsetMethod = Literal["random", "herding", "k-center", "clusters", "realism"]


class SubsetSettings(Settings, panel="Selection"):
    """How many original images are chosen, and how."""

    number: Count | None = None
    """Images in all. Labelled images are shared out among the classes by their size."""
    ratio: Share | None = None
    """Images as a fraction of the source's images, instead of --number."""
    per_class: Count | None = None
    """Images of every class, instead of --number. An image with boxes counts for every class it shows."""
    least: Annotated[Count, Only(per_class=(None,))] = 1
    """Images that every class has at least, or all that it has."""
    method: SubsetMethod = "clusters"
    """Choice within a class. An image with boxes is in the rarest class that it shows. random: any, without
    an index. herding, k-center: a coreset on the extractor's features. clusters: of each of as many k-means
    clusters the image nearest to its centre. realism: the highest confidence and attention mass."""
    max_similarity: Annotated[
        float, Field(ge=-1, le=1), Only(method=("herding", "k-center", "clusters", "realism"))
    ] = 1.0
    """Near-duplicate threshold (cosine similarity of features). Of images above it the most realistic is
    kept. 1 disables it."""
    form: Literal["list", "links", "copies"] = "list"
    """Output. list: a CSV file alone. links, copies: a folder of images beside it, of links to the source's
    files or of copies. Images with boxes have YOLO labels, data.yaml and COCO annotations.json there."""
    seed: Annotated[Seed, Only(method=("random", "clusters"))] = 0
    """Seed of every random choice."""
