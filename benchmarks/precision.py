"""Training steps of ResNet-18 by precision and memory layout.

    python benchmarks/precision.py [--size 128] [--batch 25] [--rounds 3]

The ways take turns in every round; the ratios are medians against float32 NCHW. The way that focusdd takes on
this machine is marked.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import timm
import torch
from tables import publish

from focusdd.models.device import autocast, pick_device


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)

    def step(net: torch.nn.Module, batch: torch.Tensor, cast: AbstractContextManager[Any]) -> float:
        start = time.perf_counter()
        with cast:
            loss = net(batch).float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    layouts = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
    nets = {name: timm.create_model("resnet18", num_classes=10).to(device, memory_format=layout) for name, layout in layouts.items()}  # fmt: skip # noqa: E501
    ways = [(precision, layout) for precision in ("float32", "bfloat16") for layout in layouts]
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for precision, layout in ways:
            cast = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
            batch = images.contiguous(memory_format=layouts[layout])
            seconds[precision, layout].append(step(nets[layout], batch, cast))
    base = seconds["float32", "NCHW"]
    ours = ("float32" if isinstance(autocast(device), nullcontext) else "bfloat16", "channels last")
    rows = []
    for way, times in seconds.items():
        ratio = statistics.median(first / mine for first, mine in zip(base, times, strict=True))
        mark = " (used here)" if way == ours else ""
        milliseconds = f"{statistics.median(times) * 1000:.0f}"
        rows.append(
            {
                "way": ", ".join(way) + mark,
                "ms per step": milliseconds,
                "speed against float32 NCHW": f"{ratio:.2f}",
            }
        )
    publish("precision-resnet18", rows)


if __name__ == "__main__":
    main()
