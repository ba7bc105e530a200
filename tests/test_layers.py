"""Imports point one way, and the light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import focusdd

ROOT = Path(focusdd.__file__).parent
# a module may import from its own layer and from the layers after it
LAYERS = [
    {"__main__"},
    {"cli"},
    {"cli_detect"},
    {"demo"},
    {"reports"},
    {"comparison", "cells", "cells_elsewhere"},
    {"detect", "labels", "pipeline", "publishing", "training"},
    {"compose", "selection", "baselines", "coresets", "dataset"},
    {"focus"},
    {"checks", "execute"},
    {"convnet", "index", "models", "plan"},
    {"sources"},
    {"clock"},
    {"run", "console"},
    {"images", "scores", "settings", "errors", "torchrun"},
]
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}
# geometry and patches are what everything below the screen may share
SHARED = {"focusdd.focus.geometry", "focusdd.focus.patches", "focusdd.focus.realism"}


def test_imports_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("focusdd."):
                target = node.module.split(".")[1]
                if node.module not in SHARED and RANK[target] < RANK[parts[0]]:
                    wrong.append(f"{'.'.join(parts)} imports {node.module}")
    assert not wrong


def test_every_module_has_a_layer():
    names = {path.stem if path.is_file() else path.name for path in ROOT.iterdir()}
    assert names - {"__init__", "__pycache__", "py", "demo_weights"} - {"py.typed"} == set(RANK)


def test_help_imports_neither_torch_nor_timm():
    code = (
        "import sys; import focusdd, focusdd.cli\n"
        "try: focusdd.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'pyarrow', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_resolve():
    for name in focusdd.__all__:
        assert getattr(focusdd, name) is not None
