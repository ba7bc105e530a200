"""CUDA graphs: all kernels of a pass through a network in one launch.

At the batch sizes of distilled datasets a GPU computes faster than Python launches: ResNet-18 at batch 20
keeps an H100 busy a fifth of the time. A graph launches the recorded kernels at once; the result is the same.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import nn

from focusdd.core.console import say
from focusdd.models.dense import Logits, PooledLogits
from focusdd.models.device import autocast
from focusdd.models.load import Model

_WARM_UP = 3  # passes before recording, as PyTorch advises: libraries choose their kernels in them


_Pass = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def graphed(net: nn.Module, device: torch.device) -> nn.Module:
    """The same network with its passes recorded, on a GPU; elsewhere, and for several processes, itself."""
    return GraphedNet(net) if device.type == "cuda" and isinstance(net, PooledLogits) else net


def teacher_forward(
    teacher: Model, kind: type[PooledLogits], recorded: bool
) -> Callable[[torch.Tensor], Logits]:
    """What a teacher says of [0, 255] images (B, 3, S, S), without gradients.

    Recorded on a GPU, the answer to one batch is overwritten by that to the next.
    """
    net: nn.Module = kind(teacher.net)
    if recorded:
        net = graphed(net, teacher.device)

    @torch.inference_mode()
    def forward(images: torch.Tensor) -> Logits:
        with autocast(teacher.device):
            answer: Logits = net(teacher.prepare(images))
            return answer

    return forward


def free_graphs(device: torch.device) -> None:
    """Frees the memory of recorded passes that are no longer used: they refer to themselves."""
    if device.type == "cuda":
        gc.collect()


class GraphedNet(nn.Module):
    """Records the pass of the first batch and replays it for all batches of its shape; others pass as usual.

    The answer to one batch is overwritten by that to the next. A network whose pass fails in the rehearsal
    before the recording, or by waiting for the GPU in it, is asked as usual every time.
    """

    def __init__(self, net: PooledLogits) -> None:
        super().__init__()
        self.net = net
        self._shape: torch.Size | None = None
        self._replay: _Pass | None = None

    def forward(self, images: torch.Tensor) -> Logits:
        """Normalised (B, 3, H, W) -> what the network answers."""
        if self._shape is None:
            self._shape, self._replay = images.shape, self._recorded(images)
        if self._replay is None or images.shape != self._shape:
            answer: Logits = self.net(images)
            return answer
        whole, *dense = self._replay(images)
        return whole, dense[0] if dense else None

    def _recorded(self, images: torch.Tensor) -> _Pass | None:
        """A replay of the pass, backwards too where gradients are on; nothing of the network has changed."""
        # recording is done on a stream of its own: PyTorch says so at every step
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        free_graphs(images.device)
        before = [(buffer, buffer.clone()) for buffer in self.net.buffers()]
        draws = torch.cuda.get_rng_state(images.device)
        stream = torch.cuda.current_stream(images.device)
        try:
            # a weight that was cast once would be recorded as it was then
            with autocast(images.device, cached=False):
                net, still = _Tensors(self.net), images.clone()
                if not torch.is_grad_enabled():
                    return _forward_alone(net, still)
                graphed: _Pass = torch.cuda.make_graphed_callables(  # type: ignore[assignment]
                    net, (still,), num_warmup_iters=_WARM_UP, allow_unused_input=True
                )
                return graphed
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # older versions of torch leave their own behind when they fail
            _end_recording(images.device)
            reason = str(error).partition("\n")[0]
            say(f"the passes cannot be recorded, so each is launched anew: {reason}")
            return None
        finally:
            torch.cuda.set_rng_state(draws, images.device)
            with torch.no_grad():
                for buffer, old in before:
                    buffer.copy_(old)


class _Tensors(nn.Module):
    """A network whose answer is a tuple of tensors, as recording wants it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for part in self.net(images) if part is not None)


def _end_recording(device: torch.device) -> None:
    """Takes torch's generator of random numbers out of a recording that failed.

    Up to torch 2.11, `CUDAGraph.capture_end` raises before it tells the generator that the recording is over.
    Every later draw, and every replay of an earlier record, would raise "Offset increment outside graph
    capture". The end of a recording that succeeds tells it.
    """
    memory = torch.zeros(1, device=device)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        memory.zero_()


def _forward_alone(net: nn.Module, still: torch.Tensor) -> _Pass:
    """Records a pass without gradients."""
    aside = torch.cuda.Stream(still.device)
    aside.wait_stream(torch.cuda.current_stream(still.device))
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            net(still)
    torch.cuda.current_stream(still.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = net(still)

    def replay(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        still.copy_(images)
        graph.replay()
        return tuple(answer)

    return replay
