"""Training steps of ResNet-18 on a CPU, with freed memory kept for the next step and without.

    python benchmarks/malloc.py [--size 128] [--batch 64] [--steps 6] [--rounds 2]

Each is a process of its own, in turns; processor seconds count, so that other jobs disturb little.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import timm
import torch
from tables import apart, publish

from focusdd.models.device import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"given back": [], "kept (used here)": []}
    for _ in range(options.rounds):
        for way, runs in found.items():
            keep = way.startswith("kept")
            runs.append(apart(steps, options.size, options.batch, options.steps, keep))
    before = statistics.median(run["seconds"] for run in found["given back"])
    rows = []
    for way, runs in found.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        rows.append({
            "freed memory": way, "processor ms per step": f"{1000 * seconds:.0f}",
            "speed against given back": f"{before / seconds:.2f}",
            "peak memory MB": f"{max(run['peak'] for run in runs):.0f}",
        })  # fmt: skip
    publish("malloc-resnet18", rows)


def steps(folder: Path, size: int, batch: int, count: int, keep: bool) -> dict[str, Any]:
    """Processor seconds of a step."""
    device = torch.device("cpu")
    if keep:
        keep_freed_memory(device)
    net = timm.create_model("resnet18", num_classes=10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    for number in range(count + 1):
        if number == 1:  # the first one allocates in both ways
            start = sum(os.times()[:2])
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return {"seconds": (sum(os.times()[:2]) - start) / count}


if __name__ == "__main__":
    main()
