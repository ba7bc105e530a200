"""The page by keyboard, by screen reader, in both colour schemes and on a phone.

What can be computed from the page's text is always checked. The rest needs Chromium, and for axe-core the
file axe.min.js of its npm package, named by FOCUSDD_AXE.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from focusdd.reports import figures
from focusdd.reports.page import report
from focusdd.settings import DetectDistillSettings
from focusdd.sources.detection import open_detection_source
from focusdd.tasks.detect.task import DETECT
from focusdd.tasks.distill import distill

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
AXE = os.environ.get("FOCUSDD_AXE", "")
VOID = {"img", "input", "meta", "link", "source", "br"}
PHONE = 390  # pixels across

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")


class Outline(HTMLParser):
    """Elements of a page with their attributes, their parents' names and their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = [element["tag"] for element in self._open]
        element = {
            "tag": tag,
            "attrs": {name: value or "" for name, value in attrs},
            "in": inside,
            "text": "",
        }
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop()["tag"] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element["text"] += data

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [element for element in self.elements if element["tag"] in tags]


@pytest.fixture(scope="session")
def pages(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A page about classification, and one about detection in two sources."""
    root = tmp_path_factory.mktemp("boxes")
    for name in ("demo:2", "demo:3"):
        settings = DetectDistillSettings(ipc=1, size=128, method="random")
        distill(open_detection_source(name), root / name.replace(":", "-"), settings, task=DETECT)
    return {
        "classify": report(finished).read_text(encoding="utf-8"),
        "detect": report(root).read_text(encoding="utf-8"),
    }


@pytest.fixture(params=["classify", "detect"])
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> str:
    return pages[request.param]


def test_everything_has_a_name_and_a_place_in_the_outline(page: str) -> None:
    outline = Outline(page)
    assert outline.all("html")[0]["attrs"]["lang"] == "en"
    assert len(outline.all("main")) == len(outline.all("h1")) == 1
    levels = [int(one["tag"][1]) for one in outline.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(later - one <= 1 for one, later in pairwise(levels))
    assert all(one["attrs"]["alt"].strip() for one in outline.all("img"))
    assert all(one["text"].strip() for one in outline.all("a", "summary", "th", "h2", "h3", "label"))
    assert all("label" in one["in"] for one in outline.all("input"))
    assert all(one["attrs"]["scope"] in ("row", "col") for one in outline.all("th"))
    identifiers = [one["attrs"]["id"] for one in outline.elements if "id" in one["attrs"]]
    assert len(set(identifiers)) == len(identifiers)
    targets = [one["attrs"]["href"][1:] for one in outline.all("a") if one["attrs"]["href"][0] == "#"]
    assert targets and set(targets) <= set(identifiers)


def test_what_scrolls_and_opens_can_be_reached_by_keyboard(page: str) -> None:
    outline = Outline(page)
    scrolls = [one for one in outline.elements if one["attrs"].get("class") == "scroll"]
    assert all((one["attrs"]["tabindex"], one["attrs"]["role"]) == ("0", "region") for one in scrolls)
    names = [one["attrs"]["aria-label"] for one in scrolls]
    assert names and len(set(names)) == len(names)
    assert {one["attrs"].get("tabindex", "0") for one in outline.elements} == {"0"}  # the order of the page
    assert not outline.all("script", "button")  # what opens is a <details>, which needs neither
    assert not [
        one for one in outline.elements if {"summary"} & set(one["in"]) and one["tag"] in ("a", "input")
    ]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def schemes() -> list[dict[str, str]]:
    """Colours by name, in light and in dark."""
    style = (files("focusdd.reports") / "templates" / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in (light, dark)]


def test_contrast_is_that_of_wcag_aa() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for scheme, palette in zip(schemes(), (figures._LIGHT, figures._DARK), strict=True):
        for ground in ("ground", "raised", "tint"):
            for ink in ("ink", "soft", "accent"):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
        assert contrast(scheme["ink"], scheme["bar"]) >= 4.5
        for colour in palette:  # of lines and bars, which need less than text
            assert contrast(colour, scheme["raised"]) >= 3, colour
    assert contrast("#00e5ff", "#10151a") >= 4.5  # labels of boxes


def run(page: str, script: str, tmp_path: Path, width: int = 1200, dark: bool = False) -> Any:
    """What an async function's body returns in a page, by headless Chromium.

    The page forbids scripts, so the function runs in a copy that does not.
    """
    page = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", page)
    path = tmp_path / "page.html"
    path.write_text(
        f"{page}<script>(async () => {{ {script} }})().then(found => {{"
        "const out = document.createElement('pre'); out.id = 'found';"
        "out.textContent = JSON.stringify(found); document.body.append(out); })</script>",
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    flags += [f"--window-size={width},900", "--virtual-time-budget=60000", f"--user-data-dir={tmp_path}/user"]
    flags += ["--blink-settings=preferredColorScheme=0"] * dark
    dom = subprocess.run([CHROMIUM, *flags, path.as_uri()], capture_output=True, check=True, timeout=240)
    found = re.search(r'<pre id="found">(.*?)</pre>', dom.stdout.decode(), re.DOTALL)
    assert found, dom.stdout[-2000:]
    return json.loads(html.unescape(found[1]))


@needs_chromium
def test_nothing_scrolls_sideways_on_a_phone(page: str, tmp_path: Path) -> None:
    frame = (
        f"<iframe style='border: 0; width: {PHONE}px; height: 800px' srcdoc='{html.escape(page)}'></iframe>"
    )
    script = """
        await new Promise(done => addEventListener('load', done));
        const seen = document.querySelector('iframe').contentWindow, root = seen.document.documentElement;
        for (const one of seen.document.querySelectorAll('details')) one.open = true;
        const wide = [...seen.document.querySelectorAll('body *')].filter(one =>
            one.getBoundingClientRect().right > seen.innerWidth + 1 && !one.closest('.scroll, pre'));
        const columns = [...seen.document.querySelectorAll('#results thead th.n')].slice(0, 2);
        return {inner: seen.innerWidth, page: root.scrollWidth,
                wide: wide.map(one => one.outerHTML.slice(0, 80)),
                columns: columns.map(one => one.getBoundingClientRect().right)};
    """
    found = run(f"<!doctype html><body>{frame}", script, tmp_path)
    assert (found["inner"], found["page"], found["wide"]) == (PHONE, PHONE, [])
    assert all(right <= PHONE for right in found["columns"])  # scores stand first


@needs_chromium
def test_boxes_can_be_hidden_and_images_enlarged(pages: dict[str, str], tmp_path: Path) -> None:
    script = """
        const box = document.querySelector('.box'), image = box.parentElement.querySelector('img');
        const small = image.clientWidth, shown = getComputedStyle(box).display;
        image.closest('summary').click();
        const large = image.clientWidth, name = getComputedStyle(box.firstChild).display;
        document.querySelector('.hide input').click();
        return {small, large, shown, name, hidden: getComputedStyle(box).display};
    """
    found = run(pages["detect"], script, tmp_path)
    assert found["large"] >= 2 * found["small"] > 100
    assert (found["shown"], found["name"], found["hidden"]) == ("block", "block", "none")


@needs_chromium
@pytest.mark.skipif(not AXE, reason="FOCUSDD_AXE does not name axe-core's axe.min.js")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_error(page: str, dark: bool, tmp_path: Path) -> None:
    script = f"""
        {Path(AXE).read_text(encoding="utf-8")}
        for (const one of document.querySelectorAll('details')) one.open = true;
        const found = await axe.run(document);
        return {{
            dark: matchMedia('(prefers-color-scheme: dark)').matches,
            passes: found.passes.length,
            errors: found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]),
        }};
    """
    found = run(page, script.replace("</script>", "<\\/script>"), tmp_path, dark=dark)
    assert found["dark"] is dark and found["passes"] > 20
    assert found["errors"] == []
