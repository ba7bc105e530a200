"""Cost of class attention: a plain forward, the same with class attention, and with the full matrix.

    python benchmarks/attention.py [--model vit_small_patch16_224] [--size 224] [--batch 16]

The three take turns in every round; the ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from tables import publish

from focusdd.extraction.attention import as_vit, class_attention
from focusdd.models.device import autocast, cast_weights, pick_device
from focusdd.settings import ExtractorSettings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    seconds = turns(options.model, options.size, options.batch, options.rounds, pick_device(options.device))
    rows = []
    for name, times in seconds.items():
        milliseconds = f"{statistics.median(times) * 1000:.1f}"
        rows.append(
            {"way": name, "ms per batch": milliseconds, "of the plain forward": f"{share(seconds, name):.3f}"}
        )
    publish(f"attention-{options.model}-{options.size}px", rows)


def share(seconds: dict[str, list[float]], name: str) -> float:
    """Median over the rounds of what one way takes, as a multiple of the plain forward."""
    pairs = zip(seconds[name], seconds["plain forward"], strict=True)
    return statistics.median(mine / base for mine, base in pairs)


def turns(model: str, size: int, batch: int, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every round of the three ways."""
    torch.manual_seed(0)
    net = timm.create_model(model, img_size=size, num_classes=10).to(device).eval()
    vit = as_vit(net, model)
    cast_weights(net, device)  # as `extract` does
    images = torch.randn(batch, 3, size, size, device=device)

    def materialised() -> None:
        kept = []
        hooks = [
            module.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0][:, :, 0]))
            for name, module in net.named_modules()
            if name.endswith("attn.attn_drop")
        ]
        fused(False)
        net.forward_features(images)
        fused(True)
        for hook in hooks:
            hook.remove()
        assert len(kept) == vit.depth

    def fused(on: bool) -> None:
        for module in net.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = on

    ways: dict[str, Callable[[], object]] = {
        "plain forward": lambda: net.forward_features(images),
        "with class attention": lambda: class_attention(vit, images, ExtractorSettings()),
        "with the N x N matrix": materialised,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode(), autocast(device):
        for turn in range(rounds + 2):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
