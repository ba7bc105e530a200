"""Outputs never lie among the images of a source: the next listing would take them for images."""

from __future__ import annotations

from pathlib import Path

from focusdd.core.errors import FocusError
from focusdd.sources.base import Source
from focusdd.sources.demo import DemoSource


def require_apart(out: Path, *sources: Source | None) -> None:
    """Checks that an output folder and the folders of sources do not lie in one another.

    Raises:
        FocusError: they do.
    """
    place = out.absolute().resolve()
    for source in filter(None, sources):
        for folder in _folders(source):
            if place == folder or folder in place.parents:
                raise FocusError(
                    f"--out {out} lies in the source {source.name}, among its images: use one outside of it"
                )
            if place in folder.parents:
                raise FocusError(
                    f"the source {source.name} lies in --out {out}: use another folder beside it"
                )


def _folders(source: Source) -> set[Path]:
    """The folders on this machine that hold images of a source; none for a store, a hub, a pattern, or the
    demo's images, which are drawn: a folder that is called demo is another thing."""
    if isinstance(source, DemoSource):
        return set()
    named = [Path(source.name), getattr(source, "root", None)]
    return {path.resolve() for path in named if path is not None and path.is_dir()}
