"""All that a GPU changes, measured in one go of some minutes; every figure is kept as soon as it is there.

    python benchmarks/gpu.py DATA OUT.csv [--seconds 2] [--minutes 8] [--only decode extract] [--tiny]

DATA is a source of photographs. Rows are appended to OUT.csv, the most wanted first; a measurement that fails
leaves a row that says why, and after --minutes no further one is begun. `ratio` is the value over that of the
row named in `against`. --tiny takes small networks and the demo's images (DATA demo:6), to try the script.
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest import mock

import attention
import cost
import torch
import torch.nn.functional as F
from tables import commit, machine
from torchvision.io import ImageReadMode, decode_jpeg

from focusdd import ExtractSettings, FitSettings, TrainSettings, extract, open_source
from focusdd.core import decoders
from focusdd.core.images import decode, resize
from focusdd.demo.run import WEIGHTS
from focusdd.extraction import inference
from focusdd.extraction.attention import AttentionOptions, as_vit, class_attention
from focusdd.models import graphs
from focusdd.models.checkpoint import save_checkpoint
from focusdd.models.dense import DenseLogits, PooledLogits
from focusdd.models.device import peak_device_memory_mb, pick_device
from focusdd.models.load import Model, load_model, new_net
from focusdd.models.precision import autocast, cast_weights
from focusdd.settings.resolve import resolve
from focusdd.settings.train import DENSE
from focusdd.sources.base import Record, Source
from focusdd.sources.pixels import Pixels, load_source
from focusdd.training import fit, losses
from focusdd.training.recipes import recipe

COLUMNS = ["name", "value", "unit", "ratio", "against", "detail", "machine", "torch", "date", "commit"]
EXTRACTOR, CLASSES = "vit_small_patch14_reg4_dinov2", 10


@dataclass
class Bench:
    """What is measured, how long, and where it is written."""

    data: str
    out: Path
    work: Path
    device: torch.device
    seconds: float
    end: float
    tiny: bool
    commit: str
    rates: dict[str, float] = field(default_factory=dict)

    @cached_property
    def source(self) -> Source:
        return open_source(self.data)

    @cached_property
    def side(self) -> int:
        return 32 if self.tiny else 224

    @cached_property
    def sample(self) -> int:
        return 24 if self.tiny else 1024

    @cached_property
    def rounds(self) -> int:
        return 2 if self.tiny else 30

    def row(
        self, name: str, unit: str, measure: Callable[[], float], against: str = "", detail: str = ""
    ) -> None:
        """Measures and writes one row; what goes wrong is written in its place."""
        value, ratio = "", ""
        peak_device_memory_mb(self.device)  # from here on
        begin = time.monotonic()
        if begin > self.end:
            detail = "not measured: the time was up"
        else:
            try:
                self.rates[name] = found = measure()
                value = f"{found:.4g}"
                ratio = f"{found / self.rates[against]:.3f}" if against in self.rates else ""
                peak = peak_device_memory_mb(self.device)
                detail = ", ".join(filter(None, [detail, peak and f"peak {peak} MB"]))
            except Exception as error:
                detail = f"failed: {type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
        self.write(name, value, unit, ratio, against if ratio else "", detail)
        print(f"{name}: {value} {unit} {ratio} {detail} [{time.monotonic() - begin:.1f} s]", flush=True)

    def write(self, *cells: str) -> None:
        new = not self.out.exists()
        with self.out.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerow([*cells, machine(), torch.__version__, time.strftime("%Y-%m-%d"), self.commit])

    def rate(self, work: Callable[[], object], each: int = 1) -> float:
        """How many per second: `work`, which does `each` of them, again and again after a first time."""
        work()
        self.wait()
        start, count = time.perf_counter(), 0
        while not count or time.perf_counter() - start < self.seconds:
            work()
            count += each
            if self.device.type == "cuda" and count % (8 * each) == 0:
                self.wait()  # so that the clock is that of the GPU
        self.wait()
        return count / (time.perf_counter() - start)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="for one row")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no row is begun")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--commit", help="what is measured, where git is not there to say")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        seconds = 0.05 if options.tiny else options.seconds
        bench = Bench(
            data=options.data,
            out=options.out,
            work=Path(work),
            device=pick_device("auto"),
            seconds=seconds,
            end=time.monotonic() + 60 * options.minutes,
            tiny=options.tiny,
            commit=options.commit or commit(),
        )
        for name in options.only:
            try:
                SECTIONS[name](bench)
            except Exception as error:
                bench.write(name, "", "", "", "", f"failed: {type(error).__name__}: {str(error)[:300]}")
                print(f"{name}: {error}", flush=True)
            gc.collect()


def decoding(bench: Bench) -> None:
    """Views per second from JPEG, by decoder."""
    records = bench.source.records
    files = [bench.source.read(record.key) for record in records[:: max(1, len(records) // bench.sample)]]
    with ThreadPoolExecutor() as pool:
        large = list(pool.map(_as_imagenet, files))
    for name, some in (("as they are", files), ("500 x 375", large)):
        _decoders(bench, f"decode, {name}: ", some)


def _decoders(bench: Bench, prefix: str, files: list[bytes]) -> None:
    side, cores, count = bench.side, decoders.most(), len(files)
    eights = [files[row : row + 8] for row in range(0, count, 8)]

    def in_threads(number: int, view: Callable[[bytes], object]) -> float:
        with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return bench.rate(lambda: list(pool.map(view, files)), count)

    def in_processes() -> float:
        with decoders.decoders(cores, 8, side, "squash") as views, ThreadPoolExecutor(cores) as pool:
            return bench.rate(lambda: list(pool.map(views, eights)), count)

    def on_gpu(number: int, resized: bool) -> float:
        batches = [files[row : row + 64] for row in range(0, count, 64)]
        with ThreadPoolExecutor(number) as pool:
            return bench.rate(lambda: list(pool.map(partial(_nvjpeg, side, resized), batches)), count)

    pillow = partial(decoders.view_of, side=side, fit="squash")
    base, unit = f"{prefix}Pillow, 8 threads", "images/s"
    detail = f"{count} files of {sum(map(len, files)) / count / 1000:.0f} kB, views of {side} px"
    bench.row(base, unit, partial(in_threads, 8, pillow), detail=detail)
    bench.row(f"{prefix}Pillow, processes", unit, in_processes, base, f"{cores} processes")
    torchvision = partial(_torchvision, side)
    bench.row(f"{prefix}torchvision, {cores} threads", unit, partial(in_threads, cores, torchvision), base)
    if bench.device.type == "cuda":
        bench.row(f"{prefix}nvJPEG alone", unit, partial(on_gpu, 1, False), base, "not resized")
        for number in (1, 4):
            bench.row(f"{prefix}nvJPEG, {number} threads", unit, partial(on_gpu, number, True), base)


def _as_imagenet(data: bytes) -> bytes:
    """A photograph of ImageNet's usual size, compressed as usual."""
    buffer = io.BytesIO()
    resize(decode(data)[0], 500, 375).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _torchvision(side: int, data: bytes) -> torch.Tensor:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    image = decode_jpeg(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
    return F.interpolate(image[None], (side, side), mode="bilinear", antialias=True)


def _nvjpeg(side: int, resized: bool, files: list[bytes]) -> None:
    """A batch on a stream of its own: views of one batch are made while the next is decoded."""
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    with torch.cuda.stream(torch.cuda.Stream()):
        images = decode_jpeg(encoded, ImageReadMode.RGB, device="cuda")
        if resized:
            for image in images:
                F.interpolate(image[None].float(), (side, side), mode="bilinear", antialias=True)
        torch.cuda.current_stream().synchronize()


def class_attention_share(bench: Bench) -> None:
    """What class attention adds to a forward pass (at most 5 % is the goal)."""
    batches = (4,) if bench.tiny else (64, 256)
    for model in ["test_vit"] if bench.tiny else [EXTRACTOR, "deit_small_patch16_224"]:
        for batch in batches:
            name = f"attention, {model}, {bench.side} px, batch {batch}: "
            seconds: dict[str, list[float]] = {}

            def measured(way: str, model: str = model, batch: int = batch, seconds: Any = seconds) -> float:
                if not seconds:
                    seconds |= attention.turns(model, bench.side, batch, bench.rounds, bench.device)
                return statistics.median(seconds[way]) * 1000

            bench.row(f"{name}plain forward", "ms", partial(measured, "plain forward"))
            for way in ("with class attention", "with the N x N matrix"):
                bench.row(name + way, "ms", partial(measured, way), f"{name}plain forward")


def extraction(bench: Bench) -> None:
    """Extract end to end, beside decode alone and forward alone."""
    folder = _extractor(bench)
    count, unit = len(bench.source.records), "images/s"
    for batch in (64, 256):
        settings = ExtractSettings(extractor=str(folder), batch_size=batch, anyway=True)
        name = f"extract, batch {batch}: "
        bench.row(f"{name}forward alone", unit, partial(_forward_rate, bench, settings))
        alone = f"{name}slower of decode and forward"
        decoding = bench.rates.get("decode, as they are: Pillow, processes", 0.0)
        bench.row(
            alone, unit, partial(min, decoding or math.inf, bench.rates.get(f"{name}forward alone", 0.0))
        )
        bench.row(
            f"{name}whole", unit, partial(_extract_rate, bench, settings, batch), alone, f"{count} images"
        )
    others = {"threads decode": ("FEW", count + 1), "2 batches under way": ("_UNDER_WAY", 2),
              "5 batches under way": ("_UNDER_WAY", 5)}  # fmt: skip
    settings = ExtractSettings(extractor=str(folder), anyway=True)
    for number, (what, change) in enumerate(others.items()):
        with mock.patch.object(inference, *change):
            rate = partial(_extract_rate, bench, settings, number)
            bench.row(f"extract, batch 64: {what}", unit, rate, "extract, batch 64: whole")


def _extractor(bench: Bench) -> Path:
    """A checkpoint of the default extractor's kind; its weights do not matter, so a probe judges."""
    folder = WEIGHTS / "vit" if bench.tiny else bench.work / "vit"
    if not folder.exists():
        folder.mkdir(parents=True)
        names = [f"class {number}" for number in range(CLASSES)]
        net, arguments = new_net(EXTRACTOR, CLASSES, bench.side, torch.device("cpu"), 0)
        save_checkpoint(folder, net, names, names, bench.side, arguments, {})
    return folder


def _forward_rate(bench: Bench, settings: ExtractSettings) -> float:
    """From decoded images in memory to attention in memory."""
    model = load_model(settings.extractor, bench.device)
    vit = as_vit(model.net, model.name)
    cast_weights(model.net, bench.device)
    options = AttentionOptions(settings.attention, settings.layers, settings.heads)
    side = model.input_size
    views = torch.randint(0, 256, (settings.batch_size, side, side, 3), dtype=torch.uint8)

    @torch.inference_mode()
    def forward() -> None:
        with autocast(bench.device):
            seen, tokens = class_attention(vit, model.prepare(views.permute(0, 3, 1, 2)), options)
            seen.cpu(), model.net.forward_head(tokens, pre_logits=True).cpu()  # type: ignore[operator]

    return bench.rate(forward, settings.batch_size)


def _extract_rate(
    bench: Bench, settings: ExtractSettings, number: int, source: Source | None = None
) -> float:
    index = extract(source or bench.source, bench.work / f"index-{number}-{os.getpid()}", settings)
    run = json.loads((index.folder / "run.json").read_text())
    return run["images"] / run["seconds"]["extract"]


@contextmanager
def passes(way: str) -> Iterator[None]:
    """Networks are called as they are, recorded (as focusdd does) or compiled."""
    ways: dict[str, Any] = {
        "plain": lambda net, device: net,
        "recorded": graphs.replayed,
        "compiled": lambda net, device: torch.compile(net, mode="reduce-overhead"),
    }
    with ExitStack() as stack:
        for module in (graphs, losses):
            stack.enter_context(mock.patch.object(module, "replayed", ways[way]))
        yield


def student_step(bench: Bench, student: str, batch: int) -> Callable[[], None]:
    """A step of training on random pixels with a ResNet-18 as teacher."""
    teacher = load_model("resnet18", bench.device, bench.side, pretrained=False, num_classes=CLASSES)
    settings = TrainSettings(student=student, size=bench.side)
    settings = resolve(settings, taught=DENSE, **recipe(settings)._asdict()).settings
    return _step(bench, student, batch, teacher, settings, bench.side, 2)


def fit_step(bench: Bench, model: str, batch: int) -> Callable[[], None]:
    """A step of `fit` on random pixels."""
    settings = fit._recipe(FitSettings(model=model, size=bench.side, batch_size=batch))
    return _step(bench, model, batch, None, settings, round(bench.side * 1.25), 1)


def _step(
    bench: Bench, name: str, batch: int, teacher: Model | None, settings: TrainSettings, side: int, grid: int
) -> Callable[[], None]:
    net, _ = new_net(name, CLASSES, bench.side, bench.device, 0)
    net.train()
    images = torch.randint(0, 256, (max(100, batch), 3, side, side), dtype=torch.uint8)
    pixels = Pixels(images, torch.arange(len(images)) % CLASSES, ())
    outputs = torch.arange(CLASSES, device=bench.device)
    loss = losses.online_loss(net, pixels, grid, teacher, outputs, settings, bench.device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        value = loss(torch.randperm(len(images), generator=generator)[:batch], generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return step


def bare_step(bench: Bench, student: str, batch: int) -> Callable[[], None]:
    """The passes alone, recorded: the student's both ways and the teacher's, on a batch that is there."""
    net, _ = new_net(student, CLASSES, bench.side, bench.device, 0)
    teacher = load_model("resnet18", bench.device, bench.side, pretrained=False, num_classes=CLASSES)
    mine, theirs = (graphs.replayed(DenseLogits(one), bench.device) for one in (net.train(), teacher.net))
    images = torch.rand((batch, 3, bench.side, bench.side), device=bench.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(bench.device):
            whole, dense = mine(images)
            with torch.inference_mode():
                theirs(images)
        (whole.sum() + dense.sum()).backward()

    return step


def students(bench: Bench) -> None:
    """Steps per second of students, as shares of what the passes alone would allow."""
    several = [("resnet18", 20), ("mobilenetv2_100", 20), ("resnet50", 20), ("resnet18", 100)]
    for student, batch in [("test_resnet", 4)] if bench.tiny else several:
        name = f"step, {student}, {bench.side} px, batch {batch}: "
        limit = f"{name}passes alone"
        bench.row(limit, "steps/s", partial(_step_rate, bench, bare_step, student, batch))
        for way in ("recorded", "plain"):
            with passes(way):
                rate = partial(_step_rate, bench, student_step, student, batch)
                bench.row(name + way, "steps/s", rate, limit)


def _step_rate(bench: Bench, make: Callable[..., Callable[[], None]], student: str, batch: int) -> float:
    step = make(bench, student, batch)
    for _ in range(3):
        step()
    return bench.rate(step)


def fitting(bench: Bench, ways: tuple[str, ...] = ("recorded", "plain")) -> None:
    """Images per second of `fit`."""
    model, batch = ("test_resnet", 4) if bench.tiny else ("resnet18", 64)
    name, unit = f"fit, {model}, batch {batch}: ", "images/s"
    for way in ways:
        with passes(way):

            def rate() -> float:
                return batch * _step_rate(bench, fit_step, model, batch)

            bench.row(name + way, unit, rate, f"{name}recorded")
    if "plain" in ways:
        start = time.perf_counter()
        count = len(load_source(bench.source, round(bench.side * 1.25), "read"))
        reading = count / (time.perf_counter() - start)
        bench.row("fit: images read", unit, lambda: reading)


def labelling(bench: Bench, ways: tuple[str, ...] = ("recorded", "plain")) -> None:
    """Images per second of a teacher, 64 at a time as `label` asks it."""
    for name in ["test_resnet"] if bench.tiny else ["resnet18", "resnet50"]:
        teacher = load_model(name, bench.device, bench.side, pretrained=False, num_classes=CLASSES)
        images = torch.rand((64, 3, bench.side, bench.side), device=bench.device) * 255
        for way in ways:
            with passes(way):
                ask = graphs.asked(teacher, PooledLogits, True)
                base = f"label, {name}: recorded"
                bench.row(
                    f"label, {name}: {way}",
                    "images/s",
                    partial(bench.rate, partial(ask, images), 64),
                    base,
                )


def compiled(bench: Bench) -> None:
    """`torch.compile(mode="reduce-overhead")` beside recorded passes; seconds to the first step."""
    student, batch = "resnet18", 20
    if bench.tiny:
        return  # on a CPU there is nothing to record, and to compile takes minutes
    for way in ("recorded", "compiled"):
        with passes(way):

            def first() -> float:
                begin = time.perf_counter()
                student_step(bench, student, batch)()
                bench.wait()
                return time.perf_counter() - begin

            bench.row(f"first step, {student}: {way}", "s", first, f"first step, {student}: recorded")
    name = f"step, {student}, {bench.side} px, batch {batch}: "
    with passes("compiled"):
        rate = partial(_step_rate, bench, student_step, student, batch)
        bench.row(f"{name}compiled", "steps/s", rate, f"{name}recorded")
    labelling(bench, ("compiled",))
    fitting(bench, ("compiled",))


def together(bench: Bench) -> None:
    """Steps per second of all students of one GPU: threads of one process, and processes."""
    student, batch = ("test_resnet", 4) if bench.tiny else ("resnet18", 20)
    base = "students, 1: steps of all"
    for count in (1, 2, 4):
        name = (
            f"students, {count}: steps of all" if count == 1 else f"students, {count} threads: steps of all"
        )
        bench.row(name, "steps/s", partial(_in_threads, bench, student, batch, count), base)
    for count in (2,) if bench.tiny else (2, 4):
        rate = partial(_in_processes, bench, _student_process, count, (student, batch))
        bench.row(f"students, {count} processes: steps of all", "steps/s", rate, base)


def _in_threads(bench: Bench, student: str, batch: int, count: int) -> float:
    """Recorded one after the other, then each on a stream of its own."""
    steps = []
    for _ in range(count):
        steps.append(student_step(bench, student, batch))
        steps[-1]()
    bench.wait()

    def run(step: Callable[[], None]) -> float:
        if bench.device.type == "cpu":
            return bench.rate(step)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < bench.seconds:
                step()
                done += 1
                if done % 8 == 0:
                    stream.synchronize()
            stream.synchronize()
            return done / (time.perf_counter() - start)

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(run, steps))


def workers(bench: Bench) -> None:
    """Two processes extract a half of the images each, on one GPU."""
    _extractor(bench)
    rate = partial(_in_processes, bench, _extract_process, 2, ())
    bench.row("extract, 2 workers on one GPU", "images/s", rate, "extract, batch 64: whole")


def _in_processes(bench: Bench, work: Callable[..., float], count: int, words: tuple[Any, ...]) -> float:
    """The sum of what `work` finds in so many processes at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(count), context.Queue()
    plain = Bench(bench.data, bench.out, bench.work, bench.device, bench.seconds, bench.end, bench.tiny, "")
    running = [
        context.Process(target=_told, args=(work, plain, barrier, found, number, count, *words))
        for number in range(count)
    ]
    for process in running:
        process.start()
    try:
        answers = [found.get(timeout=100) for _ in running]
    finally:
        for process in running:
            process.kill()
    if failed := [answer for answer in answers if isinstance(answer, str)]:
        raise RuntimeError(failed[0])
    return sum(answers)


def _told(work: Callable[..., float], bench: Bench, barrier: Any, found: Any, *words: Any) -> None:
    """Runs in a process of its own: what `work` finds, or why it fails."""
    try:
        found.put(work(bench, barrier, *words))
    except Exception as error:
        barrier.abort()
        found.put(f"{type(error).__name__}: {error}")


def _student_process(bench: Bench, barrier: Any, _: int, __: int, student: str, batch: int) -> float:
    step = student_step(bench, student, batch)
    step()
    barrier.wait(90)
    return bench.rate(step)


class _Part:
    """Every so many-th image of a source."""

    def __init__(self, source: Source, number: int, count: int) -> None:
        self.name, self.split = f"{source.name}, part {number}", source.split
        self.classes, self.class_names, self.skipped = source.classes, source.class_names, source.skipped
        self.fingerprint, self.read = f"{source.fingerprint}-{number}", source.read
        self.records: tuple[Record, ...] = source.records[number::count]


def _extract_process(bench: Bench, barrier: Any, number: int, count: int) -> float:
    settings = ExtractSettings(extractor=str(_extractor(bench)), anyway=True)
    source = _Part(bench.source, number, count)
    torch.zeros(1, device=bench.device)
    barrier.wait(90)
    return _extract_rate(bench, settings, number, source)


def costs(bench: Bench) -> None:
    """What recipes/imagenet1k.sh would take: docs/understand/cost.md is computed from these rows."""
    if bench.tiny:
        return
    rates = cost.rates(bench.data, bench.work / "cost", bench.device, 10, 100)
    for step, images, rate, size in rates:
        detail = f"{images} images" + (f" of {size:.0f} bytes" if size else "")
        bench.row(f"cost, {step}", "images/s", partial(float, rate), detail=detail)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "decode": decoding,
    "attention": class_attention_share,
    "extract": extraction,
    "students": students,
    "fit": fitting,
    "label": labelling,
    "together": together,
    "workers": workers,
    "cost": costs,
    "compile": compiled,
}

if __name__ == "__main__":
    main()
