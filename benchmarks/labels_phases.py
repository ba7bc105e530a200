"""Tile labels and hard labels in turns, as HALD has it: does a phase of hard labels help the fewest bytes?

    python benchmarks/labels_phases.py TINY DATA --work runs/phases --phases soft hard soft --seeds 0

TINY is a distilled dataset with tile labels (`focusdd label TINY --kind tiles ...`), DATA the source whose
validation images score the students. The epochs are shared out evenly among the phases.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from students import append, done
from tables import commit, machine

from focusdd import TrainSettings, open_source
from focusdd.composition.dataset import open_distilled
from focusdd.labels.reader import LabelledViews
from focusdd.models.device import pick_device
from focusdd.models.load import new_net, normalisation, normalise
from focusdd.models.precision import autocast
from focusdd.settings.resolve import resolve
from focusdd.sources.pixels import load_source
from focusdd.training.evaluate import evaluate
from focusdd.training.loop import StepLoss, cosine, hash_seed, run_epochs, turn
from focusdd.training.recipes import recipe

COLUMNS = ["phases", "method", "ipc", "seed", "student", "size", "epochs", "top1", "top5", "commit",
           "machine", "date"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", type=Path)
    parser.add_argument("data")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, default=Path("results/labels-phases.csv"))
    parser.add_argument("--phases", nargs="+", choices=("soft", "hard"), default=["soft", "hard", "soft"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    info = open_distilled(options.distilled).info
    device = pick_device("auto")
    held_out = load_source(open_source(options.data, "val"), options.size, "read")
    options.work.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        settings = TrainSettings(labels="tiles", size=options.size, epochs=options.epochs, seed=seed)
        run = {"phases": " ".join(options.phases), "method": info["method"], "ipc": info["ipc"], "seed": seed,
               "student": settings.student, "size": options.size, "epochs": options.epochs}  # fmt: skip
        if done(options.csv, run):
            continue
        data = LabelledViews(options.distilled, settings)
        net, _ = new_net(settings.student, len(info["classes"]), options.size, device, seed)
        settings = resolve(settings, **recipe(settings)._asdict()).settings
        run_epochs(
            net, in_turns(net, data, settings, options.phases, device), len(data.pixels),
            epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr,
            weight_decay=settings.weight_decay, rate=cosine, seed=seed, device=device,
            checkpoint=options.work / f"{'-'.join(options.phases)}-seed{seed}.pt", what="train",
        )  # fmt: skip
        score = evaluate(net, held_out, *normalisation(net), device, len(info["classes"]))
        append(options.csv, run | {
            "top1": round(score.top1, 5), "top5": round(score.top5, 5), "commit": commit(),
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d"),
        }, COLUMNS)  # fmt: skip
        print(f"{run['phases']}, seed {seed}: {score.top1:.1%}", flush=True)


def in_turns(
    net: torch.nn.Module,
    data: LabelledViews,
    settings: TrainSettings,
    phases: list[str],
    device: torch.device,
) -> StepLoss:
    """The loss of one batch: by tile labels in soft phases, by the classes of what is shown in hard ones."""
    mean, std = normalisation(net)
    views, labels, classes = len(data.views.flip), data.pixels.labels, len(data.store.info["classes"])

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        numbers = (rows + turn(generator)) % views
        pixels, target = data.batch(rows, numbers)
        with autocast(device):
            predicted = net(normalise(pixels, mean, std)).float()
        epoch = turn(generator) - hash_seed(settings.seed, 0)
        if phases[epoch * len(phases) // settings.epochs] == "soft":
            log = F.log_softmax(predicted / settings.temperature, 1)
            return F.kl_div(log, target, reduction="batchmean")
        drawn = data.views.take(numbers)
        share = drawn.own[:, None].to(device)
        partners = (rows + drawn.shift) % len(labels)
        mine, theirs = (F.one_hot(labels[which], classes).float().to(device) for which in (rows, partners))
        return F.cross_entropy(predicted, share * mine + (1 - share) * theirs)

    return loss


if __name__ == "__main__":
    main()
