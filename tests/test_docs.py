"""Documents say what is true: figures come from results, every command and setting is described."""

import csv
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import focusdd
from focusdd import settings

ROOT = Path(__file__).parents[1]


def test_pages_of_results_are_made_of_the_results():
    spec = importlib.util.spec_from_file_location("page", ROOT / "tools" / "benchmarks_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page, text in module.pages().items():
        assert page.read_text() == text, f"{page.name}: run python tools/benchmarks_page.py"


def test_every_flag_is_in_the_reference():
    """The page is generated; its wording may differ by the version of the library that writes it."""
    spec = importlib.util.spec_from_file_location("cli_page", ROOT / "tools" / "cli_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def flags(page):
        return re.findall(r"^#+ focusdd .*|(?<=^\* `)--[\w.-]+", page, re.MULTILINE)

    assert flags(module.PAGE.read_text()) == flags(module.page()), "run: python tools/cli_page.py"


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "reference" / "python" / "index.html").read_text()
    assert all(
        f'id="focusdd.{name}"' in page for name in ("distill", "train", "open_distilled", "detect.train")
    )


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.csv")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(row["commit"] and row["machine"] and row["date"] for row in rows)
    words = [word for row in rows for word in row.get("command", "").split()]
    assert not [word for word in words if word.startswith("/")], "a path of the machine it was measured on"


def test_benchmarks_and_results_are_in_the_list():
    """benchmarks/README.md says what every script answers and who wrote every file of results."""
    named = set(re.findall(r"`([\w.-]+)`", (ROOT / "benchmarks" / "README.md").read_text()))
    files = {path.name for folder in ("benchmarks", "results") for path in (ROOT / folder).glob("*.*")}
    assert files - named == {"README.md"}
    assert {name for name in named if name.endswith((".py", ".toml"))} <= files


@pytest.mark.parametrize(
    "command",
    [
        *("run", "extract", "distill", "subset", "label", "publish", "fit", "train", "compare"),
        *("report", "status", "demo", "detect"),
    ],
)
def test_every_command_is_in_the_readme(command):
    assert re.search(rf"`(focusdd )?{command}\b", (ROOT / "README.md").read_text())


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
def test_links_lead_somewhere(page):
    """To files that are there, and to headings that are in them."""
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else [""]
        assert anchor in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], link


def test_pictures_are_small_and_described():
    pictures = re.findall(r'<img src="([^"]+)" width="24%" alt="([^"]+)">', (ROOT / "README.md").read_text())
    assert len(pictures) == 4
    for name, _ in pictures:
        assert (ROOT / name).stat().st_size < 150_000


@pytest.mark.parametrize(
    "name",
    [
        "EngineSettings",
        "ExtractSettings",
        "DistillSettings",
        "LabelSettings",
        "FitSettings",
        "TrainSettings",
        "CompareSettings",
        "DetectDistillSettings",
        "DetectTrainSettings",
        "DetectCompareSettings",
        "RunSettings",
    ],
)
def test_every_setting_has_a_text(name):
    for field, info in getattr(settings, name).model_fields.items():
        assert info.description, field


PAGES = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if page.name != "cli.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page):
    """Commands of documents, but for those that stand for many, have arguments and flags that exist."""
    from focusdd.cli.app import app

    for code in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^focusdd (?!--).*$", code.replace("\\\n", " "), re.MULTILINE):
            words = shlex.split(line, comments=True)[1:]
            if "..." not in words:
                app.parse_args(words, exit_on_error=False, print_error=False)


def test_documents_import_what_is_public():
    public = re.compile(r"^(from focusdd\.(?!detect\b)|import focusdd\.(?!detect\b))", re.MULTILINE)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert [page.name for page in pages if public.search(page.read_text())] == []
    for page in pages:
        used = set(re.findall(r"\bfocusdd\.([A-Za-z]\w*)", page.read_text())) - {"toml", "lock"}
        assert used <= set(focusdd.__all__), page.name


def test_texts_name_settings_that_exist():
    """A flag in a document is a flag of a command."""
    from focusdd.cli import app as cli

    known = {"--to", "--help", "--out", "--index", "--val", "--overwrite", "--quick", "--holdout"}
    known |= {"--head"}  # of `ray start`
    for group in (
        settings.EngineSettings,
        settings.ExtractSettings,
        settings.DistillSettings,
        settings.FitSettings,
        settings.RunSettings,
        settings.SubsetSettings,
        settings.LabelSettings,
        settings.TrainSettings,
        settings.DetectDistillSettings,
        settings.DetectTrainSettings,
        settings.DetectCompareSettings,
    ):
        for name, field in group.model_fields.items():
            flag = name.replace("_", "-")
            known |= {f"--{flag}"} | ({f"--no-{flag}"} if field.annotation is bool else set())
    assert cli.app is not None
    for path in [
        ROOT / "README.md",
        ROOT / "docs" / "start" / "your-data.md",
        ROOT / "docs" / "guides" / "settings.md",
        ROOT / "docs" / "guides" / "teacher.md",
        ROOT / "docs" / "understand" / "how-it-works.md",
        ROOT / "docs" / "understand" / "detection.md",
        ROOT / "docs" / "guides" / "detection.md",
    ]:
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w>-])", path.read_text()))
        assert flags - known == set(), path.name
