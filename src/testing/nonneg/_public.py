"""The public functions, found by looking."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODULES = ("io", "pp", "tl", "pl", "get", "metrics", "datasets", "atlas")


@dataclass(frozen=True)
class PublicFunction:
    """A public function and the module that offers it."""

    module: str
    name: str
    function: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Parameters in order."""
        return inspect.signature(self.function).parameters

    @property
    def sections(self) -> dict[str, str]:
        """Sections of the numpydoc docstring by title; `""` is the summary."""
        doc = inspect.getdoc(self.function) or ""
        parts = re.split(r"^(\S.*)\n-{3,}$", doc, flags=re.MULTILINE)
        return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def documented_parameters(self) -> list[str]:
        """Names in the section of parameters, in order."""
        text = self.sections.get("Parameters", "")
        lines = re.findall(r"^(\S.*)$", text, flags=re.MULTILINE)
        return [name.strip().lstrip("*") for line in lines for name in line.split(",")]


def public_functions() -> list[PublicFunction]:
    """All functions that the submodules of the package offer."""
    import nonneg

    return [
        PublicFunction(module, name, getattr(getattr(nonneg, module), name))
        for module in MODULES
        for name in getattr(nonneg, module).__all__
        if inspect.isfunction(getattr(getattr(nonneg, module), name))
    ]


def public_classes() -> dict[str, type]:
    """The classes that the submodules of the package offer."""
    import nonneg

    return {
        f"{module}.{name}": getattr(getattr(nonneg, module), name)
        for module in MODULES
        for name in getattr(nonneg, module).__all__
        if inspect.isclass(getattr(getattr(nonneg, module), name))
    }


def public_callables() -> dict[str, Callable[..., Any]]:
    """All that users call: functions, and methods of classes, by name."""
    found = {str(public): public.function for public in public_functions()}
    for name, each in public_classes().items():
        found |= {
            f"{name}.{method}": getattr(each, method)
            for method, value in vars(each).items()
            if (method == "__call__" or not method.startswith("_"))
            and (inspect.isfunction(value) or isinstance(value, classmethod))
        }
    return found
