"""What a process on another node needs: the same folder, source and weights as the one that sent it there."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focusdd.core.errors import FocusError, InUse
from focusdd.core.files import read_json
from focusdd.core.version import __version__
from focusdd.sources.base import Source

if TYPE_CHECKING:
    from focusdd.models.load import Model

_SEEN_AFTER = 90.0  # seconds; a network file system may show files of other nodes that much later
_HELD_FOR = 180.0  # seconds; it may keep the locks of a lost node that long


@dataclass(frozen=True)
class SourceName:
    """A source as it travels: what opens it again, and how to tell that it is the same."""

    open: Callable[[str, str], Any]
    name: str
    split: str
    fingerprint: str

    @classmethod
    def of(cls, source: Source, open: Callable[[str, str], Any]) -> SourceName:
        """The name of a source that `open(name, split)` is to open again."""
        return cls(open, source.name, source.split, source.fingerprint)

    def reopen(self) -> Any:
        """Opens it.

        Raises:
            FocusError: it cannot be opened by its name on this node, or is another one here.
        """
        try:
            source = self.open(self.name, self.split)
        except FocusError as error:
            raise FocusError(
                f"node {platform.node()} cannot open the source {self.name!r} by its name, as --engine ray "
                f"has to: {error}"
            ) from error
        if source.fingerprint != self.fingerprint:
            raise FocusError(
                f"{self.name!r}, opened by its name, is another source on node {platform.node()}: "
                "with --engine ray all nodes have to see the same files (names and sizes)"
            )
        return source


def require_shared(out: Path, key: str) -> None:
    """Raises FocusError when this node does not see the stage that is being worked on."""
    known = read_json(out / "stage.json") if (out / "stage.json").exists() else {}
    if known.get("key") != key:
        raise FocusError(
            f"node {platform.node()} does not see what is being made in {out}: with --engine ray the output "
            "folder has to be on storage that all nodes share, under the same path"
        )
    require_version(known["focusdd"], out)


def require_version(version: str, out: Path) -> None:
    """Raises FocusError when this node has another version than the one that works on `out`."""
    if version != __version__:
        raise FocusError(
            f"node {platform.node()} has focusdd {__version__}, but {out} was begun with {version}: "
            "install the same version on all nodes"
        )


def load_same(name: str, weights: str, device: str, input_size: int | None) -> Model:
    """Loads a model. Raises FocusError when its weights on this node are others."""
    from focusdd.models.device import pick_device
    from focusdd.models.load import load_model

    model = load_model(name, pick_device(device), input_size)
    if model.weights != weights:
        raise FocusError(
            f"{name!r} has other weights on node {platform.node()}: with --engine ray checkpoints have to be "
            "on storage that all nodes share"
        )
    return model


def require_there(paths: Iterable[Path]) -> None:
    """Waits until all files that workers have written are seen here. Raises FocusError when one never is."""
    end = time.monotonic() + _SEEN_AFTER
    for path in paths:
        while not path.exists():
            if time.monotonic() > end:
                raise FocusError(
                    f"a worker has written {path}, but it is not there: with --engine ray the output folder "
                    "has to be on storage that all nodes share, under the same path"
                )
            time.sleep(0.2)


def once_free(do: Callable[[], Any]) -> None:
    """Does something to a stage that a lost worker may have been at, once its folder is no longer in use."""
    end = time.monotonic() + _HELD_FOR
    while True:
        try:
            do()
            return
        except InUse:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
