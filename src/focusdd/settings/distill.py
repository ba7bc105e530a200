"""Which images and windows make up a distilled dataset or a subset, and how they become pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from focusdd.settings.base import (
    UNSET,
    Count,
    Derived,
    Exponent,
    NotInKey,
    Only,
    OnlyRanked,
    Seed,
    Settings,
    Share,
    positive,
)
from focusdd.settings.extract import PatchSettings

Method = Literal["focus", "random", "view", "rded", "herding", "k-center"]
SubsetMethod = Literal["random", "herding", "k-center", "clusters", "realism"]
_FOCUS = Only(method=("focus",))
_RDED = Only(method=("rded",))
_RANKED = OnlyRanked(keep=lambda keep: keep < 1, skip=positive)


def _views(values: Mapping[str, Any]) -> int:
    cells = int(values["grid"]) ** 2
    return cells // 2 if values["view_source"] == "same" else cells


class SelectSettings(PatchSettings, panel="Selection"):
    """Which images and windows make up the distilled dataset. No image is opened to decide it."""

    ipc: Count = 10
    """Distilled images per class."""
    method: Method = "focus"
    """Selection method. focus: --views tiles with whole images, key patches in the others. view: whole images
    in all tiles, drawn without an extractor. rded: the random crops with the lowest teacher loss. random,
    herding, k-center: one whole image each, drawn or chosen on the extractor's features."""
    grid: Annotated[int, Field(ge=1, le=8), Only(method=("focus", "view", "rded"))] = 2
    """Tiles per side of a distilled image."""
    view_source: Annotated[Literal["other", "same"], _FOCUS] = "other"
    """Images that views show. other: images that give no key patch. same: the images of the key patches."""
    views: Annotated[int, Field(ge=0, le=64), _FOCUS, Derived(_views)] = UNSET
    """Tiles of a distilled image that show a whole image, downsampled. The other tiles show key patches.
    Default: all tiles. Whole images have taught as well as key patches or better on every dataset measured.
    With --view-source same: half of the tiles."""
    keep: Annotated[float, Field(ge=0, le=1), _FOCUS] = 1.0
    """Fraction of each class, most realistic first, from which images are drawn at random. 0 takes the most
    realistic in order."""
    skip: Annotated[float, Field(ge=0, lt=1), _FOCUS] = 0.0
    """Fraction of each class, most realistic first, that is used last, as too easy."""
    clusters: Annotated[bool, Only(keep=positive), _FOCUS] = True
    """Spread the draw over k-means clusters of the extractor's features. Each cluster gives the image nearest
    to its centre. --no-clusters draws as --method view does."""
    max_similarity: Annotated[float, Field(ge=-1, le=1), _FOCUS] = 1.0
    """Near-duplicate threshold (cosine similarity of features). Images above it are used last. 1 disables
    it."""
    confidence_power: Annotated[Exponent, _FOCUS, _RANKED] = 1.0
    """Exponent a of the confidence in realism = confidence^a * mass^b * (1 - area)^c."""
    mass_power: Annotated[Exponent, _FOCUS, _RANKED] = 1.0
    """Exponent b of the attention mass inside the key patch."""
    area_power: Annotated[Exponent, _FOCUS, _RANKED] = 0.0
    """Exponent c of one minus the attention area."""
    duplicates: Annotated[Literal["keep", "drop", "error"], Only(method=("focus", "herding", "k-center"))] = (
        "keep"
    )
    """Images that are the same file. keep: use all of them. drop: leave out those under several classes, and
    all but the first within a class. error: stop where one is under several classes."""
    seed: Annotated[Seed, Only(method=("focus", "random", "view", "rded"), keep=positive)] = 0


class ComposeSettings(Settings, panel="Output"):
    """How tiles become pixels."""

    size: Annotated[int, Field(ge=16, le=4096)] = 224
    """Side of a distilled image in pixels."""
    format: Literal["jpg", "png"] = "jpg"
    """File format of the distilled images. png is lossless and several times larger."""
    quality: Annotated[int, Field(ge=1, le=100), Only(format=("jpg",))] = 95
    """JPEG quality."""
    oversize: Annotated[bool, NotInKey] = False
    """Allow a distilled dataset with no fewer images than its source."""


class DistillSettings(SelectSettings, ComposeSettings, panel="Selection"):
    """All settings of selecting and composing."""

    teacher: Annotated[str, NotInKey, _RDED] = ""
    """Model that scores the crops of --method rded: a checkpoint folder or a timm model name."""
    rded_images: Annotated[Count, _RDED] = 300
    """Images per class that --method rded crops."""
    rded_crops: Annotated[Count, _RDED] = 5
    """Random crops per image, of which --method rded keeps the one with the lowest loss."""


class SubsetSettings(Settings, panel="Selection"):
    """How many original images are chosen, and how."""

    renamed: ClassVar[dict[str, str]] = {"ipc": "per_class"}

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
