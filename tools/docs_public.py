"""For the pages of the Python interface: what the source alone does not tell mkdocstrings."""

from __future__ import annotations

import inspect
from typing import Any, Literal, get_args, get_origin

import griffe


class Public(griffe.Extension):
    """Functions that are made at run time, and settings as one table."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        for name in ("tasks.public", "comparison.public"):
            module = pkg[name]
            for attribute in list(module.attributes.values()):
                if str(attribute.annotation).startswith("Callable"):
                    module.set_member(attribute.name, _function(attribute))
        for module in pkg["settings"].modules.values():
            for one in module.classes.values():
                if one.name.endswith("Settings") and one.name != "Settings":
                    one.docstring = griffe.Docstring(_table(griffe.dynamic_import(one.path)), parent=one)
                    for field in list(one.members):
                        one.del_member(field)


def _function(attribute: griffe.Attribute) -> griffe.Function:
    """A function such as `focusdd.distill` with its signature and docstring."""
    made = griffe.dynamic_import(attribute.path)
    signature = inspect.signature(made.__wrapped__)  # without a keyword for every setting
    parameters = (
        griffe.Parameter(
            one.name,
            annotation=None if one.annotation is one.empty else one.annotation,
            kind=griffe.ParameterKind(one.kind.description),
            default=None if one.default is one.empty else repr(one.default),
        )
        for one in signature.parameters.values()
    )
    returns = str(attribute.annotation).rpartition(", ")[2].rstrip("]")
    function = griffe.Function(attribute.name, parameters=griffe.Parameters(*parameters), returns=returns)
    function.docstring = griffe.Docstring(inspect.getdoc(made) or "", parent=function)
    return function


def _table(settings: Any) -> str:
    """The docstring of a class of settings, with an entry for every setting, inherited ones included."""
    lines = [(inspect.getdoc(settings) or "").strip(), "", "Attributes:"]
    for name, field in settings.model_fields.items():
        said = " ".join((field.description or "").split())
        default = "" if field.is_required() or "Default:" in said else f" Default: `{field.default}`."
        lines.append(f"    {name} ({_type(field.annotation)}): {said}{default}")
    return "\n".join(lines)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation)).replace("typing.", "")
