"""Public names that are loaded on first use: importing torch costs seconds, `import focusdd` must not."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    module: str, public: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a module with public names.

    Args:
        public: where each is, as "package.module:name", or "package.module" for a module itself.
    """

    def get(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, attribute = public[name].partition(":")
        found = importlib.import_module(place)
        return getattr(found, attribute) if attribute else found

    return get, lambda: sorted(public), sorted(public)
