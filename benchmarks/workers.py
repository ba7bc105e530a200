"""Extract and compose by the number of cores, and by the workers of engine ray.

    python benchmarks/workers.py [DATA --extractor VIT] [--ipc 50]

Every row runs in a process that is limited to so many cores (Linux) and as many threads for the model.
Without DATA the images are the demo's, 1,000 JPEG files of about 270 pixels. Rows of ray include
the start of its workers but not that of its cluster.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from tables import apart, device_memory, publish

from focusdd.demo.run import WEIGHTS
from focusdd.sources import DemoSource


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?")
    parser.add_argument("--extractor", default=str(WEIGHTS / "vit"))
    parser.add_argument("--ipc", type=int, default=50)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            options.data = write_demo(Path(folder))
        publish("workers", table(options))


def write_demo(folder: Path) -> str:
    """The demo's images as files: drawing them would take longer than all that is measured."""
    source = DemoSource(100)
    for record in source.records:
        path = folder / record.key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.read(record.key))
    return str(folder)


def table(options: argparse.Namespace) -> list[dict[str, str]]:
    """Every way in a process of its own."""
    cores = len(os.sched_getaffinity(0))
    counts = sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})
    ways = [("local", count, None) for count in counts]
    if importlib.util.find_spec("ray"):
        ways += [("ray", cores, count) for count in counts]
    found = [apart(measure, vars(options), *way) for way in ways]
    return [
        {
            "stage": stage,
            "engine": engine,
            "cores": str(count),
            "workers": str(workers or ""),
            "images": str(one[stage]["images"]),
            "seconds": f"{one[stage]['seconds']:.2f}",
            "images per second": f"{one[stage]['images'] / one[stage]['seconds']:.0f}",
            "speed-up": f"{found[0][stage]['seconds'] / one[stage]['seconds']:.2f}",
        }
        | one["device"]
        for stage in ("extract", "compose")
        for (engine, count, workers), one in zip(ways, found, strict=True)
    ]


def measure(
    work: Path, options: dict[str, Any], engine: str, cores: int, workers: int | None
) -> dict[str, Any]:
    """Extracts and distils with so many cores; what `run.json` says of both."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.cpu_count = lambda: cores  # what sets the number of threads that read images
    import torch

    from focusdd import DistillSettings, EngineSettings, ExtractSettings, distill, extract, open_source
    from focusdd.models.device import pick_device

    torch.set_num_threads(cores)
    if engine == "ray":
        import ray

        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    where = EngineSettings(engine=engine, workers=workers)
    source, size = open_source(options["data"]), options["size"]
    views = ExtractSettings(extractor=options["extractor"], tile=size // 2, device=options["device"])
    index = extract(source, work / "index", views, engine=where)
    made = distill(
        source, work / "tiny", DistillSettings(ipc=options["ipc"], size=size), index=index, engine=where
    )
    found: dict[str, Any] = {"device": device_memory(pick_device(options["device"]))}
    for stage, folder in (("extract", index.folder), ("compose", made.folder)):
        run = json.loads((folder / "run.json").read_text())
        found[stage] = {"seconds": run["seconds"][stage], "images": run["images"]}
    return found


if __name__ == "__main__":
    main()
