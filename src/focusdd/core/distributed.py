"""What `torchrun` tells the processes that it starts, and which of them speaks."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache


def world_size() -> int:
    """How many processes run this command together; 1 without torchrun."""
    return _told("WORLD_SIZE", 1)


def rank() -> int:
    """Which of them this is, from 0."""
    return _told("RANK", 0)


def local_rank() -> int:
    """Which of those on this machine this is, from 0."""
    return _told("LOCAL_RANK", 0)


def local_world_size() -> int:
    """How many of them run on this machine."""
    return _told("LOCAL_WORLD_SIZE", 1)


@cache
def fails_first() -> bool:
    """Whether this process, which has failed, is the first to: it alone says why.

    The others have failed for the same reason, or because they have lost the first.
    """
    if world_size() == 1:
        return True
    from torch.distributed import TCPStore

    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(*where, is_master=False, timeout=timedelta(seconds=10))
        return store.add(f"focusdd/failed/{os.environ['TORCHELASTIC_RESTART_COUNT']}", 1) == 1
    except RuntimeError:  # nobody to ask any more: rather twice than never
        return True


def _told(name: str, alone: int) -> int:
    # without TORCHELASTIC_RUN_ID a RANK may be somebody else's
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone
