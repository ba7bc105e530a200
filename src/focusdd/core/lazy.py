"""Public names that are imported on first use: importing torch costs seconds, `import focusdd` must not."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(module: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a module, for what it imports under `if TYPE_CHECKING`.

    So type checkers and the running program read one list. lazy_loader does the same with stub files, but
    knows no `import ... as`.
    """
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    places = {one.asname or one.name: (node.module or "", one.name) for node in imports for one in node.names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, attribute = places[name]
        if place == module:  # a module in it
            return importlib.import_module(f"{place}.{attribute}")
        return getattr(importlib.import_module(place), attribute)

    return get, lambda: sorted(places), sorted(places)
