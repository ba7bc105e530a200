"""What the GPU decodes looks as Pillow has it; on a CPU, libjpeg stands in for nvJPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from focusdd import ExtractSettings, FocusError, extract, open_source
from focusdd.core.decoders import Fit, View, view_of
from focusdd.demo.run import WEIGHTS
from focusdd.extraction import loading, nvjpeg, parts
from focusdd.extraction.inference import batch_size
from focusdd.extraction.nvjpeg import NVJPEG, decoder_for, gpu_decoder
from focusdd.tasks import extract as stage

Draw, Encoded = Callable[..., Image.Image], Callable[..., bytes]
CPU = torch.device("cpu")
SETTINGS = ExtractSettings(extractor=str(WEIGHTS / "vit"), tile=32, device="cpu", batch_size=8)


def turned(orientation: int) -> bytes:
    tag = b"\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation, 0, 0])
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"


def difference(mine: View, theirs: View) -> float:
    assert isinstance(mine.pixels, torch.Tensor) and isinstance(theirs.pixels, np.ndarray)
    assert mine.pixels.dtype == torch.uint8 and mine.pixels.shape == theirs.pixels.shape
    return float(np.abs(mine.pixels.cpu().numpy().astype(float) - theirs.pixels).mean())


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@settings(max_examples=25, deadline=None)
@given(
    st.integers(5, 150), st.integers(5, 150), st.integers(1, 8), st.booleans(), st.sampled_from(["RGB", "L"])
)
def test_views_are_those_of_pillow(
    draw: Draw, encoded: Encoded, fit: Fit, width: int, height: int, turn: int, progressive: bool, mode: str
) -> None:
    """Larger than half the views' side, so that Pillow does not decode at a reduced scale."""
    picture = draw(width, height).convert(mode)
    data = encoded(picture, "JPEG", quality=95, progressive=progressive, exif=turned(turn))
    (mine,), theirs = gpu_decoder(80, fit, CPU)([data]), view_of(data, 80, fit)
    assert mine[1:] == (*theirs[1:4], NVJPEG)
    assert difference(mine, theirs) < 0.5


def test_views_nearly_are_those_of_pillow_at_a_reduced_scale(draw: Draw, encoded: Encoded) -> None:
    data = encoded(draw(640, 480), "JPEG", quality=95)
    (mine,) = gpu_decoder(64, "squash", CPU)([data])
    assert difference(mine, view_of(data, 64, "squash")) < 4


def test_images_are_the_same_in_any_company(
    draw: Draw, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several sizes, among them files that are none, decoded in groups or one by one."""
    monkeypatch.setattr(nvjpeg, "_MOST_PIXELS", 10_000)
    sizes = [(60, 40), (40, 60), (60, 40), (200, 100), (33, 35)]
    files = [encoded(draw(*size, seed=n), "JPEG") for n, size in enumerate(sizes)]
    files[2:2] = [b"", b"no image", files[0][:300]]
    decode = gpu_decoder(32, "letterbox", CPU)
    together, alone = decode(files), [decode([data])[0] for data in files]
    assert [view.decoder for view in together] == [NVJPEG] * 2 + ["Pillow"] * 3 + [NVJPEG] * 3
    for mine, theirs in zip(together, alone, strict=True):
        assert mine[1:] == theirs[1:]
        assert mine.problem or torch.equal(mine.pixels, theirs.pixels)  # type: ignore[arg-type]


def rgb(picture: Image.Image) -> bytes:
    """A JPEG that keeps red, green and blue as they are."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", keep_rgb=True)
    return buffer.getvalue()


XMP = b"http://ns.adobe.com/xap/1.0/\0" + b'<x tiff:Orientation="6"/>'


def test_pillow_gets_what_nvjpeg_would_show_in_other_colours_or_not_at_all(
    draw: Draw, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = encoded(draw(64, 48), "JPEG")
    files = {
        "png": encoded(draw(64, 48)),
        "cmyk": encoded(draw(64, 48).convert("CMYK"), "JPEG"),
        "rgb": rgb(draw(64, 48)),
        "cut short": plain[: len(plain) // 2],
        "empty": b"",
        "jpeg in two bytes": b"\xff\xd8",
        "jpeg in four bytes": b"\xff\xd8\xff\xd9",
        "only a header": plain[: plain.index(b"\xff\xda")] + b"\xff\xd9",
        "damaged tag": encoded(draw(64, 48), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    }
    for name, data in files.items():
        (mine,), theirs = gpu_decoder(32, "squash", CPU)([data]), view_of(data, 32, "squash")
        assert mine[1:] == theirs[1:], name
        assert (mine.pixels is None) == (theirs.pixels is None), name
        if mine.pixels is not None:
            assert difference(mine, theirs) == 0, name
    monkeypatch.setattr(nvjpeg, "_TOO_LARGE", 64 * 48 - 1)
    assert gpu_decoder(32, "squash", CPU)([plain])[0].decoder == "Pillow"


def test_an_orientation_in_xmp_counts_as_pillow_counts_it(draw: Draw, encoded: Encoded) -> None:
    plain = encoded(draw(64, 48), "JPEG")
    data = plain[:2] + b"\xff\xe1" + (len(XMP) + 2).to_bytes(2, "big") + XMP + plain[2:]
    (mine,), theirs = gpu_decoder(80, "squash", CPU)([data]), view_of(data, 80, "squash")
    assert (mine.width, mine.height) == (theirs.width, theirs.height) == (48, 64)
    assert difference(mine, theirs) < 0.5


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(2, 600))
def test_no_header_is_a_mistake(encoded: Encoded, data: bytes, at: int) -> None:
    plain = encoded(Image.new("RGB", (20, 10)), "JPEG")
    nvjpeg._header(b"\xff\xd8" + data + b"\xff\xd9")
    nvjpeg._header(plain[:at] + data + plain[at + len(data) :])


def test_an_image_that_the_decoder_fails_on_is_decoded_by_pillow(
    draw: Draw, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.io

    files = [encoded(draw(40, 30, seed=n), "JPEG") for n in range(4)]
    real: Callable[..., Any] = torchvision.io.decode_jpeg

    def fails(encoded: list[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        if any(bytes(one.numpy()) == files[2] for one in encoded):
            raise RuntimeError("nvJPEG failed")
        return real(encoded, *args, **kwargs)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", fails)
    found = gpu_decoder(32, "squash", CPU)(files)
    assert [view.decoder for view in found] == [NVJPEG, NVJPEG, "Pillow", NVJPEG]
    assert difference(found[2], view_of(files[2], 32, "squash")) == 0


def test_without_a_decoder_in_torchvision_pillow_decodes(
    draw: Draw, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.io

    data = encoded(draw(40, 30), "JPEG")
    monkeypatch.setattr(torchvision.io, "decode_jpeg", lambda *_, **__: torch.ops.image.no_such_operator)
    assert gpu_decoder(32, "squash", CPU)([data])[0].decoder == "Pillow"
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    assert gpu_decoder(32, "squash", CPU)([data])[0].decoder == "Pillow"


@pytest.fixture
def photos(draw: Draw, encoded: Encoded, tmp_path: Path) -> Path:
    for label in range(2):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(12):
            picture = draw(60 + number, 50, seed=100 * label + number)
            name = f"{number}.png" if number == 5 else f"{number}.jpg"
            (folder / name).write_bytes(encoded(picture, "PNG" if number == 5 else "JPEG"))
    (tmp_path / "photos" / "class 0" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (nvjpeg, loading):
        monkeypatch.setattr(module, "has_nvjpeg", lambda device: True)
    monkeypatch.setattr(parts, "_on_every_core", parts._beside_the_model)


def test_the_index_names_its_decoder_and_keeps_it(
    photos: Path, tmp_path: Path, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(str(photos))
    settings = SETTINGS.model_copy(update={"anyway": True})
    monkeypatch.setattr(parts, "SHARD", 16)
    index = extract(source, tmp_path / "gpu", settings)
    assert index.info["decoder"] == {"name": NVJPEG, "fallback": 2}
    assert index.info["counts"]["images"] == 24 and len(index.info["skipped"]) == 1
    again = extract(source, tmp_path / "again", settings)
    assert [part.read_bytes() for part in index.parts()] == [part.read_bytes() for part in again.parts()]
    monkeypatch.undo()
    other = extract(source, tmp_path / "cpu", settings)
    assert other.info["decoder"] == {"name": "Pillow", "fallback": 0}
    assert other.key != index.key
    # a whole index is taken as it is; what is missing of it wants its decoder
    assert extract(source, index.folder, settings).key == index.key
    monkeypatch.setattr(parts, "SHARD", 16)
    again.parts()[1].unlink()
    with pytest.raises(FocusError, match="begun with the decoder nvJPEG"):
        extract(source, again.folder, settings)
    assert extract(source, again.folder, settings, overwrite=True).key == other.key


def test_a_gpu_that_decodes_no_jpegs_is_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with a torchvision that no longer has `decode_jpeg`."""
    monkeypatch.setattr(nvjpeg, "has_nvjpeg", lambda _: False)
    source = open_source(str(photos))
    capsys.readouterr()
    assert decoder_for(source, CPU) == decoder_for(source, torch.device("cuda")) == "Pillow"
    assert capsys.readouterr().out.count("decodes no JPEGs on the GPU: the CPU does, at a lower rate") == 1


def test_a_source_of_other_files_is_left_to_pillow(
    draw: Draw, encoded: Encoded, photos: Path, as_on_a_gpu: None
) -> None:
    source = open_source(str(photos))
    assert decoder_for(source, CPU) == NVJPEG
    for path in photos.glob("*/*.jpg"):
        if path.stem not in ("0", "1", "2", "3", "4"):
            path.write_bytes(encoded(draw(50, 50)))
    assert decoder_for(source, CPU) == "Pillow"
    assert stage._begun_with(photos, False) is None


@pytest.mark.parametrize(("side", "images"), [(224, 256), (518, 47), (2044, 16), (56, 256)])
def test_a_batch_on_a_gpu_has_as_many_tokens_as_keep_it_busy(side: int, images: int) -> None:
    vit = SimpleNamespace(grid=lambda height, width: (height // 14, width // 14))
    model = SimpleNamespace(device=torch.device("cuda"), input_size=side)
    assert batch_size(vit, model) == images  # type: ignore[arg-type]
    model.device = CPU
    assert batch_size(vit, model) == 64  # type: ignore[arg-type]
