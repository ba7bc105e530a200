"""How a source is read where its look does not say it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from focusdd.settings.base import Seed, Settings


class SourceSettings(Settings):
    """How a source is read. They travel in its name: `photos?holdout=0.1&holdout_seed=1`."""

    holdout: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of each class that is kept out of training and is the validation set, for a source without
    one. Use the same value in every command."""
    holdout_seed: Seed = 0
    """Seed of the draw of --holdout."""
    classes: Literal["top", "deep"] | None = None
    """Class folders of an image folder. top: the folders directly in it. deep: those that hold the images."""
    image_column: str | None = None
    """Column of a table that holds the images."""
    label_column: str | None = None
    """Column of a table that holds the labels."""
