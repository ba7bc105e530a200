"""RDED's own student training against focusdd's, in turns within one run, and what makes the difference.

    python benchmarks/rded_loop.py TINY --teacher TEACHER [--size 224 128] [--batch-size 50] [--rounds 3]
    python benchmarks/rded_loop.py TINY --teacher TEACHER --accuracy DATA --size 128 --epochs 60 [--seeds 0]
        [--loops LOOP ...]

TINY is a distilled dataset; nothing is written into it. Every way trains one epoch in each round, all on the
same images, with the same networks, input size and batch size. RDED's loop is written anew after its public
code, with its defaults: four loader workers and a batch of 50 at ten images per class; rows below it take its
parts out one after the other. The last row learns from labels stored once and asks no teacher at all.

With --accuracy, students are trained by either loop, by focusdd with labels, crops, schedule and batches as
RDED's, and by `focusdd train` as it is, and scored on all validation images of DATA; finished rows in
results/rded-accuracy.csv are kept.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from rded_training import MEAN, STD, Training, Way
from tables import RESULTS, append, commit, device_memory, done, machine, publish, read

from focusdd import LabelSettings, TrainSettings, label, open_source, train
from focusdd.composition.dataset import Distilled, open_distilled
from focusdd.labels.reader import LabelledViews
from focusdd.models.device import peak_device_memory_mb, pick_device
from focusdd.models.families import recipe
from focusdd.models.load import load_model, new_net
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE
from focusdd.sources.pixels import load_files, load_source
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import StepLoss, cosine, run_epochs
from focusdd.training.losses import online_loss, stored_loss

WAYS = {
    "RDED's loop": Way(),
    "  without its second forward": Way(second_forward=False),
    "  and augmented in batches": Way(second_forward=False, one_by_one=False),
    "  and channels last": Way(second_forward=False, one_by_one=False, layout=torch.channels_last),
    "  and reduced precision": Way(False, False, torch.channels_last, reduced=True),
}
OURS, STORED = "focusdd train", "focusdd train --labels stored"
# loop -> settings in which the recipe differs from the default; None is RDED's own loop
STUDENTS: dict[str, dict[str, Any] | None] = {
    "RDED's loop": None,
    "focusdd, all as RDED's": {"dense_weight": 0.0, "tile_crops": 0.0, "schedule": "half-cosine"},
    "focusdd train": {"batch_size": TrainSettings().batch_size},
}
COLUMNS = ["loop", "method", "ipc", "seed", "student", "size", "batch", "epochs", "top1", "top5",
           "seconds_train", "commit", "torch", "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, nargs="+", default=[224, 128])
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--workers", type=int, default=4, help="of RDED's loader")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accuracy", metavar="DATA", help="train students and score them instead")
    parser.add_argument("--loops", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.accuracy:
        for seed in options.seeds:
            for size in options.size:
                score(options, size, seed)
    else:
        publish("rded-loop", [row for size in options.size for row in speed(options, size)])


def speed(options: argparse.Namespace, size: int) -> list[dict[str, str]]:
    """Seconds of an epoch by every way, after one epoch that does not count."""
    device, distilled = pick_device(options.device), open_distilled(options.distilled)
    with tempfile.TemporaryDirectory() as scratch:
        ways = ladder(options, distilled, size, device) | ours(options, size, Path(scratch), device)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        memory: dict[str, dict[str, str]] = {}
        for _ in range(options.rounds + 1):
            for name, epoch in ways.items():
                peak_device_memory_mb(device)  # from here on
                start = time.perf_counter()
                epoch()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
                memory[name] = device_memory(device)
    images, base = len(distilled.files()), seconds["RDED's loop"][1:]
    rows = []
    for name, (_, *times) in seconds.items():
        ratio = statistics.median(first / own for first, own in zip(base, times, strict=True))
        rows.append(
            {
                "way": name,
                "size": str(size),
                "batch": str(options.batch_size),
                "seconds per epoch": f"{statistics.median(times):.2f}",
                "images per second": f"{images / statistics.median(times):.1f}",
                "speed against RDED's loop": f"{ratio:.2f}",
            }
            | memory[name]
        )
    return rows


def ladder(
    options: argparse.Namespace, distilled: Distilled, size: int, device: torch.device
) -> dict[str, Callable[[], None]]:
    """An epoch of RDED's loop, and of what is left of it with its parts taken out."""
    epochs = options.rounds + 1
    return {
        name: Training(
            distilled,
            timm.create_model(options.student, num_classes=len(distilled.classes)),
            load_model(options.teacher, device, size).net,
            way=way,
            size=size,
            batch_size=options.batch_size,
            epochs=epochs,
            workers=options.workers,
            seed=0,
            device=device,
        ).epoch
        for name, way in WAYS.items()
    }


def ours(
    options: argparse.Namespace, size: int, scratch: Path, device: torch.device
) -> dict[str, Callable[[], None]]:
    """An epoch as `focusdd train` makes it, with the teacher online and with labels that are stored."""
    copy = scratch / "tiny"
    shutil.copytree(options.distilled, copy, ignore=shutil.ignore_patterns("labels"))
    label(copy, LabelSettings(teacher=options.teacher, size=size, device=options.device))
    distilled = open_distilled(copy)
    settings = TrainSettings(
        student=options.student, size=size, batch_size=options.batch_size, epochs=options.rounds + 1,
        dense_weight=0.0,  # labels of whole views, as RDED's
    )  # fmt: skip
    settings = resolve(settings, taught=DENSE, **recipe(options.student)._asdict()).settings
    classes = len(distilled.classes)
    teacher = load_model(options.teacher, device, size)
    pixels = load_files(distilled.files(), distilled.info["size"])
    views = LabelledViews(distilled, settings.model_copy(update={"labels": "tiles"}), device)

    def epoch(net: torch.nn.Module, loss: StepLoss) -> None:
        run_epochs(
            net, loss, len(pixels), epochs=1, batch_size=settings.batch_size, lr=settings.lr,
            weight_decay=settings.weight_decay, rate=cosine, seed=0, device=device,
            checkpoint=scratch / "none.pt", what="train",
        )  # fmt: skip

    nets = [new_net(options.student, classes, size, device, 0)[0] for _ in range(2)]
    outputs = torch.arange(classes, device=device)
    losses = [
        online_loss(nets[0], pixels, distilled.info["grid"], teacher, outputs, settings, device),
        stored_loss(nets[1], views, settings, device),
    ]
    return {OURS: lambda: epoch(nets[0], losses[0]), STORED: lambda: epoch(nets[1], losses[1])}


def score(options: argparse.Namespace, size: int, seed: int) -> None:
    """Trains students by either loop for the same epochs and scores them on the validation images."""
    device, distilled = pick_device(options.device), open_distilled(options.distilled)
    val = open_source(options.accuracy, "val")
    path = RESULTS / "rded-accuracy.csv"
    for name in options.loops:
        changes = STUDENTS[name]
        own = {"batch_size": options.batch_size} | (changes or {})
        run = {"loop": name, "method": distilled.info["method"], "ipc": distilled.info["ipc"], "seed": seed,
               "student": options.student, "size": size, "batch": own["batch_size"],
               "epochs": options.epochs}  # fmt: skip
        if done(path, run):
            continue
        start = time.perf_counter()
        if changes is None:
            student = new_net(options.student, len(distilled.classes), size, device, seed)[0]
            training = Training(
                distilled,
                student,
                load_model(options.teacher, device, size).net,
                way=Way(),
                size=size,
                batch_size=options.batch_size,
                epochs=options.epochs,
                workers=options.workers,
                seed=seed,
                device=device,
            )
            for _ in range(options.epochs):
                training.epoch()
            seconds = time.perf_counter() - start
            found = evaluate(student, load_source(val, size, "read"), MEAN, STD, device, len(val.classes))
            result = {"top1": round(found.top1, 5), "top5": round(found.top5, 5)}
        else:
            settings = TrainSettings(
                student=options.student, teacher=options.teacher, size=size, epochs=options.epochs, seed=seed,
                device=options.device, **own,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as out:
                result = train(distilled, val, Path(out) / "student", settings)
                seconds = read(Path(out) / "student" / "run.json")["seconds"]["train"]
        append(path, run | {
            "top1": result.top1, "top5": result.top5, "seconds_train": round(seconds, 1),
            "commit": commit(), "torch": torch.__version__, "machine": machine(),
            "date": time.strftime("%Y-%m-%d"),
        }, COLUMNS)  # fmt: skip
        print(f"{name}, {size} px, seed {seed}: {result.top1:.1%}", flush=True)


if __name__ == "__main__":
    main()
