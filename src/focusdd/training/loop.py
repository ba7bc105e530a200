"""The training loop that student and teacher share: epochs, schedule, checkpoints.

Every random choice of an epoch comes from (seed, epoch), so a run that was killed and resumed takes the very
steps of an undisturbed one. Schedules are functions of the share of the training that is done, for the same
reason: timm's and torch's schedulers hold a state that would have to be saved and restored.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from focusdd.core.console import progress, say
from focusdd.core.errors import FocusError
from focusdd.core.files import write_whole
from focusdd.models.device import keep_freed_memory
from focusdd.training.ranks import ALONE, Ranks

RESUME = "resume.pt"  # the checkpoint, in the folder of an unfinished stage
_SAVE_SECONDS = 20.0  # between checkpoints
_SAVE_COST = 0.4  # seconds; one that takes longer comes as much less often: they take 2 % of the time at most

StepLoss = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""loss(rows, generator): the mean loss of the batch of these rows, over those that are this process's own."""
Rate = Callable[[float], float]
"""rate(t): learning rate over its peak at t in [0, 1) of the training."""


def cosine(t: float) -> float:
    """From 1 down to 0."""
    return 0.5 * (1 + math.cos(math.pi * t))


def half_cosine(t: float) -> float:
    """From 1 down to 1/2, as RDED's code does."""
    return 0.5 * (1 + math.cos(math.pi * t / 2))


def warm_cosine(t: float) -> float:
    """Linear over the first 5 %, then cosine to 0."""
    return t / 0.05 if t < 0.05 else cosine((t - 0.05) / 0.95)


def run_epochs(
    net: nn.Module,
    loss_of: StepLoss,
    num_images: int,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    rate: Rate,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    what: str,
    ema: float = 0.0,
    clip: float = math.inf,
    ranks: Ranks = ALONE,
) -> tuple[nn.Module, float]:
    """Trains `net` in place with AdamW; resumes from `checkpoint`, with any number of processes.

    A last batch of one image is dropped: batch norm needs two.

    Args:
        rate: learning rate over its peak, per step.
        what: "fit" or "train".
        ema: decay of an exponential moving average of the weights; 0 for none. Until step 1 / (1 - ema) it is
            the mean of all steps.
        clip: largest norm of the gradient; a longer one is shortened to it.
        ranks: the processes that share every batch; `loss_of` calls what `ranks.parallel` makes of `net`.

    Returns:
        The network to keep, `net` itself or its average; and the seconds of training, those before the
        checkpoint included.

    Raises:
        FocusError: the loss is no longer a number, or a batch has fewer images than there are processes.
    """
    keep_freed_memory(device)
    # a model names what else does not decay: tokens and embeddings of positions
    undecayed: set[str] = getattr(net, "no_weight_decay", set)()
    groups = param_groups_weight_decay(net, weight_decay, no_weight_decay_list=undecayed)
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=device.type in ("cpu", "cuda"))
    # the warm-up keeps the random weights at the start out of a short training's average
    average = ModelEmaV3(net, ema, use_warmup=True, warmup_power=1.0) if ema else None
    models = nn.ModuleDict({"net": net} | ({} if average is None else {"average": average.module}))
    sizes = [len(rows) for rows in _batches(torch.arange(num_images), batch_size)]
    batches = len(sizes)
    if not batches:
        raise FocusError("one image is too little to learn from: give more images")
    if sizes[-1] < ranks.world_size:
        raise FocusError(
            f"{ranks.world_size} processes cannot share the last batch of {sizes[-1]} images: use another "
            f"--batch-size, or at most {sizes[-1]} processes"
        )
    done, before = 0, 0.0
    # the first one's: the others may not see its folder, or not yet
    saved = checkpoint.read_bytes() if ranks.rank == 0 and checkpoint.exists() else None
    if (saved := ranks.broadcast(saved)) is not None:
        state = torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
        models.load_state_dict(state["models"])
        optimizer.load_state_dict(state["optimizer"])
        done, before = state["done"], state["seconds"]
        say(f"resuming: {done} of {epochs} epochs are done")
    start = saved_at = time.monotonic()
    pause = _SAVE_SECONDS
    loss_before = ""  # of the epoch before: to read a step's own would wait for the GPU
    with progress(what, epochs * sum(sizes), "images", done * sum(sizes)) as advance:
        for epoch in range(done, epochs):
            generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
            # for layers that draw by themselves (drop path), for other rows in every process
            torch.manual_seed(epoch_seed(seed + 2**31 * ranks.rank, epoch))
            net.train()
            order = torch.randperm(num_images, generator=generator)
            total = torch.zeros((), device=device)
            for number, rows in enumerate(_batches(order, batch_size)):
                for group in optimizer.param_groups:
                    group["lr"] = lr * rate((epoch + number / batches) / epochs)
                mine = ranks.shard(len(rows))
                loss = loss_of(rows, generator) * ((mine.stop - mine.start) / len(rows))
                optimizer.zero_grad(set_to_none=True)
                (loss * ranks.world_size).backward()  # the mean over the processes is that over the rows
                if clip < math.inf:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                total += loss.detach()
                if average is not None:
                    average.update(net, epoch * batches + number + 1)
                advance(len(rows), f"epoch {epoch + 1} of {epochs}{loss_before}")
            mean = float(ranks.all_reduce(total)) / batches
            loss_before = f", loss {mean:.4g}"
            if not math.isfinite(mean):
                raise FocusError(
                    f"the loss is no longer a number after epoch {epoch + 1}: use a smaller --{what}.lr"
                )
            due = time.monotonic() - saved_at > pause and epoch + 1 < epochs
            if due and ranks.rank == 0:
                saved_at = time.monotonic()
                state = {"models": models.state_dict(), "optimizer": optimizer.state_dict()}
                buffer = io.BytesIO()
                torch.save(state | {"done": epoch + 1, "seconds": before + saved_at - start}, buffer)
                write_whole(checkpoint, buffer.getvalue())
                pause = _SAVE_SECONDS * max(1.0, (time.monotonic() - saved_at) / _SAVE_COST)
    return net if average is None else average.module, before + time.monotonic() - start


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch, far from those of other seeds and epochs."""
    return (seed * 1_000_003 + epoch) % 2**63


def epoch_counter(generator: torch.Generator) -> int:
    """A number that grows by one from epoch to epoch, from the generator of the epoch."""
    return generator.initial_seed()


def _batches(order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    for rows in order.split(size):
        if len(rows) > 1:
            yield rows
