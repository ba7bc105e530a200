"""Training steps of students by region: kernels launched one by one and, on a GPU, as recorded CUDA graphs.

    python benchmarks/steps.py [--students resnet18 mobilenetv2_100] [--size 224] [--batch 20] [--device auto]

Augmentation and teacher (a ResNet-18) included. The ways take turns in every round; ratios are medians over
the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from tables import publish

from focusdd import TrainSettings
from focusdd.models.device import pick_device
from focusdd.models.load import load_model, new_net
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE
from focusdd.sources.pixels import Pixels
from focusdd.training import losses
from focusdd.training.recipes import recipe

IMAGES, SIDE, CLASSES = 100, 224, 10
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", nargs="+", default=["resnet18", "mobilenetv2_100"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="in one turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    rows = []
    for student in options.students:
        ways = {"one by one": stepper(student, options.size, options.batch, device, recorded=False)}
        if device.type == "cuda":
            ways["recorded (used here)"] = stepper(student, options.size, options.batch, device, True)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, step in ways.items():
                seconds[way].append(timed(step, options.steps, device))
        base = seconds["one by one"]
        for way, times in seconds.items():
            ratio = statistics.median(first / mine for first, mine in zip(base, times, strict=True))
            rows.append({
                "student": student, "px": str(options.size), "batch": str(options.batch), "kernels": way,
                "steps per second": f"{options.steps / statistics.median(times):.1f}",
                "speed against one by one": f"{ratio:.2f}",
            })  # fmt: skip
    publish("steps", rows)


def stepper(student: str, size: int, batch: int, device: torch.device, recorded: bool) -> Step:
    """A step of training on random pixels, begun already."""
    net, _ = new_net(student, CLASSES, size, device, 0)
    net.train()
    teacher = load_model("resnet18", device, size, pretrained=False, num_classes=CLASSES)
    images = torch.randint(0, 256, (IMAGES, 3, SIDE, SIDE), dtype=torch.uint8)
    pixels = Pixels(images, torch.arange(IMAGES) % CLASSES, ())
    settings = TrainSettings(student=student, size=size)
    settings = resolve(settings, taught=DENSE, **recipe(settings)._asdict()).settings
    outputs = torch.arange(CLASSES, device=device)
    way = losses.replayed if recorded else lambda net, device: net
    with mock.patch.object(losses, "replayed", way):
        loss = losses.online_loss(net, pixels, 2, teacher, outputs, settings, device)
    optimizer = torch.optim.AdamW(net.parameters(), settings.lr, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        value = loss(torch.randperm(IMAGES, generator=generator)[:batch], generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    for _ in range(3):
        step()
    return step


def timed(step: Step, count: int, device: torch.device) -> float:
    """Seconds of so many steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
