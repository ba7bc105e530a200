"""Processes that decode images: Python's lock holds threads up at some 3,000 images a second.

The pixels come back through shared memory. multiprocessing's pools are not used: they import the user's
script again, which fails where it has no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from focusdd.core.cores import cpu_count
from focusdd.core.images import UnreadableImage, decode, letterbox, square

if TYPE_CHECKING:
    import torch

_MOST = 32  # processes; with more, the one that feeds them would be the slowest
PILLOW = "Pillow"
_START = "import sys; sys.path[:] = sys.argv[6:]; from focusdd.core import decoders; decoders.serve()"

Fit = Literal["squash", "letterbox"]


class View(NamedTuple):
    """A decoded image, or the reason why there is none."""

    pixels: np.ndarray | torch.Tensor | None
    """uint8 (side, side, 3)."""
    width: int
    """Of the original, as its height."""
    height: int
    problem: str
    decoder: str = PILLOW


Decode = Callable[[Sequence[bytes]], list[View]]


def view_of(data: bytes, side: int, fit: Fit) -> View:
    """Decodes a file, squashed to side x side pixels or centred on grey."""
    try:
        image, width, height = decode(data, least_side=side)
        return View((square if fit == "squash" else letterbox)(image, side), width, height, "")
    except UnreadableImage as error:
        return View(None, 0, 0, str(error))


def most() -> int:
    """How many processes decode at once on this machine; 0 where memory is not shared as on Linux."""
    if not hasattr(os, "memfd_create") or not sys.executable:
        return 0
    return min(cpu_count(), _MOST)


@contextmanager
def decoders(count: int, at_once: int, side: int, fit: Fit) -> Iterator[Decode]:
    """`view_of` in so many processes, for as many threads that call it with at most `at_once` files each.

    What a process that has died leaves undone is done in the thread.
    """
    free: SimpleQueue[Decode] = SimpleQueue()

    def views(files: Sequence[bytes]) -> list[View]:
        one = free.get()
        try:
            return one(files)
        except (EOFError, OSError):
            return [view_of(data, side, fit) for data in files]
        finally:
            free.put(one)

    with ExitStack() as stack:
        for _ in range(count):
            free.put(stack.enter_context(_process(at_once, side, fit)))
        yield views


@contextmanager
def _process(at_once: int, side: int, fit: Fit) -> Iterator[Decode]:
    shape = (at_once, side, side, 3)
    ours, theirs = Pipe()
    shared = os.memfd_create("focusdd")
    os.ftruncate(shared, int(np.prod(shape)))
    words = [str(theirs.fileno()), str(shared), str(at_once), str(side), fit, *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *words],
        pass_fds=(theirs.fileno(), shared),
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # threads that nothing would use
    )
    theirs.close()
    pixels = np.frombuffer(mmap.mmap(shared, 0), np.uint8).reshape(shape)
    os.close(shared)

    def views(files: Sequence[bytes]) -> list[View]:
        ours.send(files)
        return [
            View(None if problem else pixels[slot].copy(), width, height, problem)
            for slot, (width, height, problem) in enumerate(ours.recv())
        ]

    try:
        yield views
    finally:
        process.kill()
        process.wait()
        ours.close()


def serve() -> None:
    """What runs in a process of `decoders`, until the other end of its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one that feeds it
    pipe, shared, at_once, side = map(int, sys.argv[1:5])
    fit: Fit = "squash" if sys.argv[5] == "squash" else "letterbox"
    memory = mmap.mmap(shared, 0)
    pixels = np.frombuffer(memory, np.uint8).reshape(at_once, side, side, 3)
    requests = Connection(pipe)
    while True:
        try:
            files = requests.recv()
        except EOFError:
            return
        answers = []
        for slot, data in enumerate(files):
            view = view_of(data, side, fit)
            if view.pixels is not None:
                pixels[slot] = view.pixels
            answers.append(view[1:4])
        requests.send(answers)
