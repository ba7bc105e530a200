"""What distilling ImageNet-1K and training on it would take, from rates measured here and now.

    python benchmarks/cost.py DATA --work runs/cost [--device auto] [--rounds 3]

A sample of DATA's photographs is enlarged to ImageNet's usual 500 x 375 pixels, and the steps of
recipes/imagenet1k.sh are timed on it with networks of the recipe's kinds, whose weights do not matter here.
The table multiplies: images / images per second = seconds, on 1, 8 and 64 devices such as this one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import timm
import torch
from tables import publish

from focusdd import DistillSettings, ExtractorSettings, TrainSettings, distill, open_source
from focusdd.core.decoders import decoders, most
from focusdd.core.images import decode, encode, resize, square
from focusdd.extraction.attention import as_vit, class_attention
from focusdd.models.device import autocast, pick_device
from focusdd.models.families import recipe
from focusdd.models.load import load_model, new_net, normalise
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE
from focusdd.sources.folder import FolderSource
from focusdd.sources.pixels import Pixels, load_files
from focusdd.training.losses import online_loss

IMAGES, CLASSES, IPC, EPOCHS = 1_281_167, 1000, 100, 300
EXTRACTOR, VIEW, TEACHER = "deit_small_patch16_224", 224, "resnet18"
STUDENTS = ("resnet50", "mobilenetv2_100")
SAMPLE, DEVICES = 200, (1, 8, 64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=100)
    options = parser.parse_args()
    device = pick_device(options.device)
    source = sample(options.data, options.work / "sample")
    files = [source.read(record.key) for record in source.records]
    found = chain(
        extract_rates(files, device, options.rounds),
        later_rates(source, options.work, device, options.rounds, options.batch_size),
    )
    publish(f"cost-imagenet1k-{device.type}", [line(*row) for row in found])


Rate = tuple[str, int, float, float | None]
"""Step, images that it has to take, images per second, and bytes per image where it writes any."""


def extract_rates(files: list[bytes], device: torch.device, rounds: int) -> Iterator[Rate]:
    """What `extract` takes."""
    decoding = decode_rate(files)
    yield "extract: decode", IMAGES, decoding, None
    model = attention_rate(files, device, rounds)
    yield f"extract: {EXTRACTOR}, {VIEW} px", IMAGES, model, None
    # a GPU computes while the CPU decodes; without one they share it
    together = min(decoding, model) if device.type != "cpu" else 1 / (1 / decoding + 1 / model)
    yield "extract: both", IMAGES, together, None


def later_rates(
    source: FolderSource, work: Path, device: torch.device, rounds: int, batch: int
) -> Iterator[Rate]:
    """What `distill` and `train` take."""
    tiny = distill(source, work / "tiny", DistillSettings(method="view", ipc=4), overwrite=True)
    size = statistics.mean(path.stat().st_size for path, _ in tiny.files())
    yield "distill: compose", CLASSES * IPC, compose_rate(source, work / "again"), size
    pixels = load_files(tiny.files(), tiny.info["size"])
    for student in STUDENTS:
        rate = train_rate(student, pixels, device, batch, rounds)
        yield f"train: {student}, {EPOCHS} epochs", CLASSES * IPC * EPOCHS, rate, None


def line(step: str, images: int, rate: float, size: float | None = None) -> dict[str, str]:
    hours = {f"hours on {n}": f"{images / rate / n / 3600:.3g}" for n in DEVICES}
    gigabytes = f"{images * size / 1e9:.2f}" if size else ""
    return {
        "step": step,
        "images": f"{images:,}",
        "images per second": f"{rate:.3g}",
        **hours,
        "GB": gigabytes,
    }


def sample(data: str, folder: Path) -> FolderSource:
    """The first photographs of every class, 500 x 375."""
    source = open_source(data)
    each = SAMPLE // len(source.classes)
    taken = dict.fromkeys(range(len(source.classes)), 0)
    for record in source.records:
        if taken[record.label] < each:
            path = folder / "train" / source.classes[record.label] / f"{taken[record.label]}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            taken[record.label] += 1
            if not path.exists():
                image, _, _ = decode(source.read(record.key))
                path.write_bytes(encode(resize(image, 500, 375), "jpg", 90))
    return open_source(str(folder))


def decode_rate(files: list[bytes]) -> float:
    """Views per second, decoded from JPEG on all cores as `extract` does beside a GPU."""
    count, some = most(), [files[row : row + 8] for row in range(0, len(files), 8)]
    with decoders(count, 8, VIEW, "squash") as views, ThreadPoolExecutor(count) as pool:
        list(pool.map(views, some * 2))  # until all processes are there
        start = time.perf_counter()
        list(pool.map(views, some * 5))
        return 5 * len(files) / (time.perf_counter() - start)


def attention_rate(files: list[bytes], device: torch.device, rounds: int) -> float:
    """Views per second through the ViT, with class attention."""
    net = timm.create_model(EXTRACTOR).to(device).eval()
    vit = as_vit(net, EXTRACTOR)
    batch = 64
    views = torch.stack([torch.from_numpy(square(decode(data)[0], VIEW)) for data in files[:batch]])
    views = normalise(views.permute(0, 3, 1, 2).to(device), (0.5,) * 3, (0.5,) * 3)
    with torch.inference_mode(), autocast(device):
        seconds = timed(lambda: class_attention(vit, views, ExtractorSettings())[0].sum().item(), rounds)
    return batch / seconds


def compose_rate(source: FolderSource, out: Path) -> float:
    settings = DistillSettings(method="view", ipc=4)
    start = time.perf_counter()
    distill(source, out, settings, overwrite=True)
    return 4 * len(source.classes) / (time.perf_counter() - start)


def train_rate(student: str, pixels: Pixels, device: torch.device, batch: int, rounds: int) -> float:
    """Images per second of a training step: augmentation, teacher, student, optimiser."""
    settings = TrainSettings(student=student, size=VIEW)
    settings = resolve(settings, taught=DENSE, **recipe(student)._asdict()).settings
    net, _ = new_net(student, CLASSES, settings.size, device, 0)
    teacher = load_model(TEACHER, device, settings.size, pretrained=False, num_classes=CLASSES)
    loss = online_loss(net, pixels, 2, teacher, torch.arange(CLASSES, device=device), settings, device)
    optimizer = torch.optim.AdamW(net.parameters(), settings.lr, fused=device.type in ("cpu", "cuda"))
    generator = torch.Generator().manual_seed(0)
    net.train()

    def step() -> None:
        value = loss(torch.arange(batch) % len(pixels), generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        value.item()

    return batch / timed(step, rounds)


def timed(work: Callable[[], object], rounds: int) -> float:
    """Median seconds, after one run that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
