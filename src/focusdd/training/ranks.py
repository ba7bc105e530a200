"""The processes of a `torchrun` train one network together, as one process would.

Each makes every random choice for the whole batch and passes its own rows through the network; gradients are
averaged over all rows. So --batch-size is the size of the batch that all of them share, and the result is
that of one process up to rounding. The first process alone writes, speaks and scores.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from focusdd.core.distributed import local_rank, world_size
from focusdd.core.errors import FocusError
from focusdd.models.graphs import free_graphs

_PATIENCE = timedelta(hours=6)  # while the first one scores
_MEETING = timedelta(minutes=15)  # until all have come, and at every step
_GROUPS = count()  # that this process has joined


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1
    waiting: Any = None
    """The process group in which the others wait for the first."""

    def shard(self, batch: int) -> slice:
        """This process's own rows of a batch of so many."""
        return slice(self.rank * batch // self.world_size, (self.rank + 1) * batch // self.world_size)

    def broadcast(self, value: Any = None) -> Any:
        """What the first process calls this with, in all of them; the others wait for it."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0, group=self.waiting)
        return box[0]

    def all_reduce(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def require_same(self, value: Any, what: str) -> None:
        """Raises FocusError in a process whose value is not that of the first."""
        if self.broadcast(value) != value:
            raise FocusError(
                f"process {self.rank} of this torchrun, on node {platform.node()}, has other {what} than the "
                "first: all nodes have to see the same files"
            )

    def parallel(self, net: nn.Module, device: torch.device) -> nn.Module:
        """`net` as the training calls it: its gradients are the mean over all processes.

        Batch norm takes its statistics over the whole batch, or the result would depend on the number of
        processes.

        Raises:
            FocusError: `net` has batch norm, and PyTorch has it for whole batches on GPUs alone.
        """
        if self.world_size == 1:
            return net
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in net.modules()):
            if device.type != "cuda":
                raise FocusError(
                    "several processes can train a network with batch norm on GPUs alone: start the command "
                    "without torchrun, or take a network with layer or instance norm"
                )
            convert_sync_batchnorm(net)
        # the graph is the same in every step, and knowing it DDP bears weights that take no part
        return DistributedDataParallel(net, static_graph=True)


ALONE = Ranks()


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Connects the processes of a torchrun, each with a GPU of its own if they run on GPUs.

    Raises:
        FocusError: there are more processes than GPUs, or one of the others has gone.
    """
    try:
        with nullcontext(ALONE) if world_size() == 1 else _torchrun_group(device) as ranks:
            yield ranks
    finally:
        free_graphs(device)


@contextmanager
def _torchrun_group(device: torch.device) -> Iterator[Ranks]:
    if device.type == "cuda":
        if local_rank() >= (there := torch.cuda.device_count()):
            raise FocusError(
                f"torchrun has started more processes on {platform.node()} than its {there} GPUs: use "
                f"--nproc-per-node {there}, or --device cpu"
            )
        torch.cuda.set_device(local_rank())
    elif device.type != "cpu":
        raise FocusError(f"device {device} trains in one process: start the command without torchrun")
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=_MEETING))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            timeout=_MEETING,
            # keys of its own: those of an earlier group of these processes lead nowhere
            store=dist.PrefixStore(f"focusdd/{next(_GROUPS)}", store),
            rank=rank,
            world_size=size,
        )
        waiting = dist.new_group(backend="gloo", timeout=_PATIENCE)
    except RuntimeError as error:
        raise FocusError(
            f"not all {world_size()} processes of this torchrun have come together: see what the others say"
        ) from error
    try:
        yield Ranks(rank, size, waiting)
    except RuntimeError as error:
        lost = ("by peer", "broken pipe")
        if not isinstance(error, dist.DistError) and not any(words in str(error).lower() for words in lost):
            raise
        raise FocusError(
            "another process of this torchrun has ended, often for want of memory: run the same command "
            "again to go on"
        ) from error
    dist.destroy_process_group()  # not after an error: who still waits for this one shall notice
