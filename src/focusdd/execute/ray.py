"""Shards on Ray actors: only shard numbers travel there, only counts and a sentence come back.

Ray restarts an actor that dies, on another node if it has to, and sends it its shard again. A part that is
there already is not made twice, so a shard may run any number of times, even at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from focusdd.core.console import Advance, say, warn
from focusdd.core.errors import FocusError, plain_os_error
from focusdd.core.spelling import number_of
from focusdd.execute import Work, Worker
from focusdd.settings import EngineSettings

_RESTARTS = 5  # of a worker; a shard that kills whoever takes it ends the run after that
_OBJECT_STORE = 80 * 2**20  # bytes; Ray's least, for nothing is kept in it
_WAIT = 60.0  # seconds without a worker until it is said what all are waiting for


class _Done(NamedTuple):
    """What comes back from a worker."""

    items: int = 0
    note: str = ""
    problem: str = ""
    """What went wrong, in a sentence."""


class _Actor:
    """One process that works on one shard after another; what it needs is opened once."""

    def __init__(self, worker: Worker, folder: str, gpu: bool) -> None:
        self._worker, self._folder, self._gpu = worker, folder, gpu
        self._work: Work | None = None

    def run(self, shards: Sequence[int]) -> _Done:
        """Works on shards; on none, it only gets ready."""
        items, last = 0, ""

        def advance(count: int, note: str = "") -> None:
            nonlocal items, last
            items, last = items + count, note

        try:
            if self._work is None:
                if not self._gpu:
                    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # whatever GPU there is belongs to someone else
                with contextlib.suppress(OSError):
                    os.chdir(self._folder)  # so that relative paths mean the same everywhere
                self._work = self._worker()
            if shards:
                self._work(shards, advance)
        except FocusError as error:
            return _Done(problem=str(error))
        except OSError as error:
            return _Done(problem=str(plain_os_error(error)))
        return _Done(items, last)


def run_on_ray(
    shards: Sequence[int],
    worker: Worker,
    advance: Advance,
    engine: EngineSettings,
    device: str,
    unit: str = "shard",
) -> None:
    """Hands the shards to as many actors as the cluster has GPUs, or nodes where there are none.

    Args:
        unit: what a shard is called.

    Raises:
        FocusError: Ray is not installed, the cluster does not answer, a worker raised one, or a shard killed
            its worker again and again.
    """
    borrowed = _import_ray().is_initialized()
    with connected(engine.address) as ray:
        can_grow = _address(engine.address) != "local"
        count, resources = _plan(ray.nodes(), engine.workers, len(shards), device, can_grow)
        say(
            f"ray: {number_of(count, 'worker')}, each with "
            + ", ".join(f"{n:g} {name}" for name, n in resources.items())
        )
        actor = ray.remote(_Actor).options(
            num_cpus=resources["CPU"],
            num_gpus=resources.get("GPU", 0),
            max_restarts=_RESTARTS,
            # the restarts are the limit: Ray counts failing to reach a lost node as a try
            max_task_retries=-1,
        )
        gpu = "GPU" in resources
        actors = [actor.remote(worker, str(Path.cwd()), gpu) for _ in range(count)]
        try:
            _hand_out(ray, actors, shards, advance, unit)
        finally:
            if borrowed:  # else they end with the connection, and without a word
                for one in actors:
                    ray.kill(one)


def _hand_out(ray: Any, actors: list[Any], shards: Sequence[int], advance: Advance, unit: str) -> None:
    """One shard at a time to every actor that is ready; returns when all are done."""
    upcoming, left = deque(shards), len(shards)
    running: dict[Any, tuple[Any, tuple[int, ...]]] = {actor.run.remote(()): (actor, ()) for actor in actors}
    while left:
        ready, _ = ray.wait(list(running), num_returns=1, timeout=_WAIT)
        if not ready:
            if not any(mine for _, mine in running.values()):
                warn("no worker is ready yet: they are still starting, or the cluster has no room for one")
            continue
        actor, mine = running.pop(ready[0])
        try:
            done = ray.get(ready[0])
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            raise FocusError(_why_dead(str(error), mine, unit)) from error
        if done.problem:
            raise FocusError(done.problem)
        if mine:
            left -= 1
            advance(done.items, done.note)
        if upcoming:
            mine = (upcoming.popleft(),)
            running[actor.run.remote(mine)] = (actor, mine)
        else:
            ray.kill(actor)  # makes room for one that lost its node and waits to be restarted


def _why_dead(said: str, mine: tuple[int, ...], unit: str) -> str:
    """The sentence about a worker that Ray has given up."""
    kinds = ("ModuleNotFoundError", "ImportError")
    missing = next((line for line in said.splitlines() if line.lstrip().startswith(kinds)), None)
    if missing:
        return (
            f"a worker cannot begin ({missing.strip()}): install the same version of focusdd with the same "
            "extras on all nodes"
        )
    what = f"over {unit} {mine[0]}" if mine else "as it began"
    return (
        f"a worker ended {_RESTARTS + 1} times, at last {what}, often for want of memory (see Ray's logs): "
        "run the same command again to go on"
    )


def _plan(
    nodes: list[dict[str, Any]], workers: int | None, shards: int, device: str, can_grow: bool
) -> tuple[int, dict[str, float]]:
    """How many workers, and what each asks for: a GPU and its share of a node, or an equal share of the CPUs.

    The share is the same for all, so it is that of the poorest node. More workers than GPUs share them where
    no others can come; a cluster that can grow is asked for more.
    """
    rooms = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = [room for room in rooms if room.get("GPU", 0) >= 1]
    if device == "cuda" or (device == "auto" and gpus):
        share = min((int(room["CPU"] // room["GPU"]) for room in gpus), default=1)
        there = sum(int(room["GPU"]) for room in gpus) or 1
        count = min(workers or there, shards)
        sharing = 1 if can_grow else max(1, -(-count // there))
        # Ray counts in ten-thousandths of a GPU
        return count, {"GPU": 10_000 // sharing / 10_000, "CPU": max(1, share // sharing)}
    count = min(workers or max(1, len(rooms)), shards)
    least = min((int(room["CPU"]) for room in rooms), default=1)
    return count, {"CPU": max(1, least // -(-count // max(1, len(rooms))))}


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns that this will come
    try:
        import ray
    except ImportError as error:
        raise FocusError("engine ray needs ray: pip install 'focusdd[ray]'") from error
    return ray


def _address(asked: str | None) -> str:
    return asked or os.environ.get("RAY_ADDRESS") or "local"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """A connection to the cluster, or a Ray of this machine alone for as long as the block runs.

    Yields the package `ray`.
    """
    ray = _import_ray()
    if ray.is_initialized():  # the caller's own
        yield ray
        return
    address = _address(address)
    own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE} if address == "local" else {}
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise FocusError(
            f"no Ray cluster can be reached at {address!r} ({reason}): if it runs there, it may ask for a "
            "token, which Ray looks for with RAY_AUTH_MODE=token"
        ) from error
    finally:  # Ray puts its own in its place
        if on_stop is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)
    try:
        yield ray
    finally:
        ray.shutdown()
