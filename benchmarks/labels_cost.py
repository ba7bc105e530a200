"""What stored labels cost and how near they are, in three tables:

    python benchmarks/labels_cost.py speed TINY --teacher TEACHER     seconds per step, all kinds in turns
    python benchmarks/labels_cost.py weight TINY --teacher TEACHER    composed labels against the teacher's
    python benchmarks/labels_cost.py bytes                            1,000 classes: files against arithmetic

TINY is a distilled dataset; nothing is written into it. Results go to results/labels-<table>.csv.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tables import publish

from focusdd import DistillSettings, LabelSettings, TrainSettings, distill, label, open_source
from focusdd.composition.dataset import open_distilled
from focusdd.labels.packed import pack, record_type
from focusdd.labels.reader import LabelledViews
from focusdd.labels.store import write_array, write_joined
from focusdd.labels.teacher import Teacher, tile_logits
from focusdd.labels.tiles import compose, shares, visible
from focusdd.labels.views import draw_views, render
from focusdd.models.device import pick_device
from focusdd.models.load import load_model, new_net
from focusdd.settings import AugmentSettings
from focusdd.sources.pixels import load_files
from focusdd.training.loop import StepLoss
from focusdd.training.losses import online_loss, stored_loss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=("speed", "weight", "bytes"))
    parser.add_argument("distilled", type=Path, nargs="?")
    parser.add_argument("--teacher", default="")
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.table == "speed":
            speed(options, Path(scratch) / "tiny")
        elif options.table == "weight":
            weight(options)
        else:
            size(Path(scratch))


def speed(options: argparse.Namespace, copy: Path) -> None:
    """One step of each kind in turns, so that whatever else the machine does slows all of them."""
    shutil.copytree(options.distilled, copy, ignore=shutil.ignore_patterns("labels"))
    label(copy, LabelSettings(teacher=options.teacher, kind="both", num_crops=20, size=options.size))
    device = pick_device("auto")
    recipe = TrainSettings(student=options.student, size=options.size, labels="tiles", tile_crops=1.0,
                           temperature=20.0)  # fmt: skip
    tiles = LabelledViews(copy, recipe, device)
    views = LabelledViews(copy, recipe.model_copy(update={"labels": "views"}), device)
    net, _ = new_net(options.student, len(tiles.store.info["classes"]), options.size, device, 0)
    teacher = load_model(options.teacher, device, options.size)
    outputs = torch.arange(len(tiles.store.info["classes"]), device=device)
    ways: dict[str, StepLoss] = {
        "online teacher": online_loss(net, tiles.pixels, tiles.grid, teacher, outputs, recipe, device),
        "stored tiles": stored_loss(net, tiles, recipe, device),
        "stored views": stored_loss(net, views, recipe, device),
        "hard": online_loss(net, tiles.pixels, tiles.grid, None, None, recipe, device),
    }
    optimizer = torch.optim.AdamW(net.parameters(), fused=device.type in ("cpu", "cuda"))
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    net.train()
    for _ in range(options.rounds + 1):
        for way, loss in ways.items():
            rows = torch.randperm(len(tiles.pixels), generator=generator)[: recipe.batch_size]
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            value = loss(rows, generator)
            value.backward()
            optimizer.step()
            float(value.detach())  # waits for the device
            seconds[way].append(time.perf_counter() - start)
    found = {way: statistics.median(times[1:]) for way, times in seconds.items()}
    ratios = {
        way: statistics.median(
            own / other for own, other in zip(seconds["online teacher"][1:], times[1:], strict=True)
        )
        for way, times in seconds.items()
    }
    publish("labels-speed", [
        {"labels": way, "student": options.student, "size": str(options.size),
         "ms per step": f"{1000 * found[way]:.0f}", "speed against online": f"{ratios[way]:.2f}"}
        for way in ways
    ])  # fmt: skip


def weight(options: argparse.Namespace) -> None:
    """How far a composed label is from the teacher's of the view, by the weight of the whole image."""
    device, temperature = pick_device("auto"), 20.0
    distilled = open_distilled(options.distilled)
    model = load_model(options.teacher, device, options.size)
    outputs = torch.arange(len(distilled.classes), device=device)
    teacher = Teacher(model, outputs)
    images = load_files(distilled.files(), distilled.info["size"]).images.to(device)
    grid, side = distilled.info["grid"], images.shape[-1]
    logits = torch.from_numpy(tile_logits(teacher, images, grid, options.size))
    rows = torch.arange(len(images))
    table = []
    for mixup in (0.0, 1.0):
        for tile_crops in (0.0, 0.5, 1.0):
            recipe = AugmentSettings(mix_prob=mixup, tile_crops=tile_crops)
            far, near = 0.0, dict.fromkeys(("tiles alone", "half", "whole alone", "area"), 0.0)
            drawn = draw_views(12, len(images), side, grid, recipe, torch.Generator().manual_seed(0))
            for number in range(12):
                views = drawn.take(torch.full_like(rows, number))
                said = model.logits(render(images, rows, views, options.size, device))[:, outputs]
                said = (said / temperature).softmax(1).cpu()
                far += divergence(said, torch.full_like(said, 1 / said.shape[1]))
                own, other = visible(views, grid, side)
                weights = {"area": shares(views, grid, side)}
                for name, whole in (("tiles alone", 0.0), ("half", 0.5), ("whole alone", 1.0)):
                    parts = (
                        torch.cat([whole * part.sum(1, keepdim=True), (1 - whole) * part], 1)
                        for part in (own, other)
                    )
                    weights[name] = (next(parts), next(parts))
                partners = logits[(rows + views.shift) % len(images)]
                for name, pair in weights.items():
                    near[name] += divergence(said, compose(logits, partners, pair, temperature))
            table.append(
                {"CutMix": f"{mixup:g}", "tile crops": f"{tile_crops:g}"}
                | {f"weight: {name}": f"{value / far:.1%}" for name, value in near.items()}
            )
    publish("labels-weight", table)


def divergence(said: torch.Tensor, ours: torch.Tensor) -> float:
    """Mean Kullback-Leibler divergence between probabilities (B, C)."""
    return float((said * (said / ours).log()).sum(1).mean())


def size(scratch: Path) -> None:
    """Writes labels for 1,000 classes by the stage's own functions, of logits drawn at random."""
    classes, side = 1000, 32
    rng = np.random.default_rng(0)
    for number in range(classes):
        (scratch / "photos" / f"{number:04d}").mkdir(parents=True)
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(scratch / "photos" / f"{number:04d}" / "0.png")
    made = distill(
        open_source(scratch / "photos"), scratch / "tiny", DistillSettings(method="view", ipc=1, size=side)
    )
    images = len(made.files())
    rows = []
    for kind, count, top, bits in (
        ("tiles", 5, 32, 8), ("tiles", 5, 16, 4), ("views", 150, 32, 8), ("views", 300, 16, 8)
    ):  # fmt: skip
        folder = scratch / f"{kind}-{top}-{bits}"
        folder.mkdir()
        shape = (images, count) if kind == "tiles" else (count, images)

        def part(number: int, shape=shape, top=top, bits=bits) -> np.ndarray:
            logits = np.random.default_rng(number).normal(size=(1, shape[1], classes)).astype(np.float32)
            return pack(2 * logits, top, bits, 20.0)

        start = time.perf_counter()
        parts = [folder / f"part-{number:05d}.npy" for number in range(shape[0])]
        for number, path in enumerate(parts):
            write_array(path, part(number))
        write_joined(folder / "labels.npy", parts, shape[0])
        found = (folder / "labels.npy").stat().st_size / images
        each = record_type(classes, top, bits).itemsize
        rows.append(
            {"labels": f"{count} {kind}", "top": str(top), "bits": str(bits), "images": str(images),
             "bytes per image": f"{found:.1f}", "arithmetic": str(each * count),
             "of 300 epochs in fp16": f"1/{300 * classes * 2 / found:.0f}",
             "seconds to write": f"{time.perf_counter() - start:.1f}"}
        )  # fmt: skip
    publish("labels-bytes", rows)


if __name__ == "__main__":
    main()
