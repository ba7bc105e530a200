"""Where the work is done."""

from __future__ import annotations

from typing import Annotated, Literal

from focusdd.settings.base import Count, Only, Settings

_RAY = Only(engine=("ray",))


class EngineSettings(Settings, panel="Engine"):
    """Where the work is done. The engine does not change the results, so it is part of no key."""

    engine: Literal["local", "ray"] = "local"
    """Where the work runs. local: in this process. ray: on workers of a Ray cluster, or on one worker for
    each GPU of this machine."""
    address: Annotated[str | None, _RAY] = None
    """Address of the Ray cluster: "auto" or host:port. Default: $RAY_ADDRESS, else a new Ray on this
    machine."""
    workers: Annotated[Count | None, _RAY] = None
    """Number of Ray workers. Default: one for each GPU, or for each node without GPUs. On one machine
    several workers can share a GPU."""
