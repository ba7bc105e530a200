"""What is published: wheel, sdist, their metadata, the lowest versions and the workflows."""

from __future__ import annotations

import re
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

from focusdd.core.version import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = {  # beside the modules
    "focusdd/py.typed",
    "focusdd/demo/weights/teacher/model.safetensors",
    "focusdd/demo/weights/vit/config.json",
    "focusdd/reports/templates/page.html.j2",
    "focusdd/reports/templates/style.css",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    from hatchling.build import build_sdist, build_wheel

    out = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build_wheel(str(out))
        build_sdist(str(out))
    return out


def test_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        [metadata] = [name for name in names if name.endswith("/METADATA")]
        fields = Parser().parsestr(wheel.read(metadata).decode())
    info = metadata.rpartition("/")[0]
    modules = {f"focusdd/{one.relative_to(ROOT / 'src/focusdd')}" for one in (ROOT / "src").rglob("*.py")}
    assert modules | NEEDED <= names
    assert all(name.startswith(("focusdd/", f"{info}/")) and "__pycache__" not in name for name in names)
    assert (fields["Name"], fields["Version"]) == ("focusdd", __version__)
    assert fields["License-Expression"] == "Apache-2.0" and f"{info}/licenses/LICENSE" in names
    required = [one for one in fields.get_all("Requires-Dist") if "extra ==" not in one]
    assert len(required) == len(PROJECT["dependencies"])


def test_sdist_holds_what_the_wheel_is_made_of(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in NEEDED} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"} <= names
    assert not [name for name in names if name.startswith(("tests", "results", "benchmarks", "docs"))]


def test_lowest_versions_are_those_of_the_project() -> None:
    extras = [one for group in PROJECT["optional-dependencies"].values() for one in group]
    lowest = dict(one.split(">=") for one in PROJECT["dependencies"] + extras)
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned.keys() == lowest.keys()
    for name, version in lowest.items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", pinned[name]), name


def test_workflows_run_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = set()
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step)
                if "run" in step:
                    called.add(re.fullmatch(r"make ([a-z-]+)( TAG=\S+ \S+ \S+)?", step["run"])[1])
    assert called <= targets and {"lint", "test", "test-lowest", "test-install", "test-page"} <= called


def test_citation_can_be_read() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": author["name"]} for author in PROJECT["authors"]]
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2501.06405"
