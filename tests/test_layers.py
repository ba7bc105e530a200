"""Imports point one way, and the light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import focusdd

ROOT = Path(focusdd.__file__).parent
# a package may import from itself and from those after it
LAYERS = (
    "cli",
    "demo",
    "reports",
    "comparison",
    "tasks",
    "training",
    "labels",
    "composition",
    "selection",
    "extraction",
    "execute",
    "models",
    "sources",
    "settings",
    "core",
)
MOST_ENTRIES = 16  # beside the dunders: the tree is to be seen at a glance


def imports(path: Path) -> list[str]:
    """The modules of focusdd that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return [name for name in found if name.split(".")[0] == "focusdd"]


def test_imports_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if len(parts) == 1:
            continue  # the two doors of the house: __init__ and __main__
        for module in imports(path):
            target = module.split(".")[1] if "." in module else None
            # the commands are the front door's callers, nobody else may know it
            allowed = (
                parts[0] == "cli"
                if target in (None, "detect")
                else LAYERS.index(target) >= LAYERS.index(parts[0])
            )
            if not allowed:
                wrong.append(f"{'.'.join(parts)} imports {module}")
    assert not wrong


def test_every_package_has_a_layer_and_the_tree_is_small():
    entries = {path.name for path in ROOT.iterdir() if not path.name.startswith("__")} - {"py.typed"}
    assert entries == {*LAYERS, "detect.py"}  # the public face of detection
    assert len(entries) <= MOST_ENTRIES


def test_help_imports_neither_torch_nor_timm():
    code = (
        "import sys; import focusdd, focusdd.cli.app\n"
        "try: focusdd.cli.app.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_resolve():
    for name in focusdd.__all__:
        assert getattr(focusdd, name) is not None
