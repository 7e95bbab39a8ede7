"""Arguments of another kind than a function takes."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, cast

import numpy as np

_PACKAGE = str(Path(__file__).parents[1])

# What stands for several types in signatures, as far as that can be told here; of other
# names everything is accepted.
_ALIASES = {
    "RNGLike": "int | Generator | None",
    "FactorSelection": "int | str | Sequence[int | str]",
    "TypeSelection": "int | str | Sequence[int | str]",
    "AnyPath": "str | PathLike",
    "Palette": "Mapping | Sequence",
    "Seed": "int | str | ArrayLike",
    "Crop": "tuple[float, float, float, float]",
}

# Types that are found by the names of classes, without importing their packages.
_CLASSES = {
    *("AnnData", "SpatialData", "MuData", "Axes", "Colormap", "DataFrame", "Generator"),
    *("Atlas", "MapDistances", "Series", "str", "bytes"),
}

# What arguments are called elsewhere: scikit-learn, scanpy, RcppML, LIGER, scVI.
_ELSEWHERE = {
    "max_iter": ("n_iter", "n_iters", "niter", "iterations", "maxiter", "num_iter"),
    "n_epochs": ("max_epochs", "epochs"),
    "n_components": ("n_factors", "k", "rank", "n_comps", "n_topics", "n_latent", "L"),
    "rng": ("random_state", "seed", "rand_seed"),
    "batch_key": ("batch", "by", "dataset_key"),
    "library_key": ("batch_key", "library_id", "library", "section_key", "sample_key"),
    "coords": ("coordinates", "locations", "xy"),
    "spatial_key": ("basis", "coords", "coords_key"),
    "size_factors": ("size_factor", "sizes", "library_size"),
    "key_added": ("key", "name"),
}

# Arguments of some functions that resemble others of other functions.
_OURS = {"spatial_key", "library_key", "table_key", "n_spatial", "n_inducing", "n_init"}

# Of letters that two names have in common: `max_itr` and `max_iter`, not `n_jobs`, `obsm`.
_ALIKE = 0.8

# Elements of a sequence that are looked at.
_FIRST = 100

_LONG = 80


def checked[F: Callable[..., Any]](function: F) -> F:
    """Say which argument is of another kind than the function takes.

    Flags are checked before the call: everything is true or false, so that text or an
    array would pass in silence. Other arguments are looked at where an error came from
    elsewhere than a ``raise`` of ours, whose messages know more.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_flags(function, args, kwargs)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not is_ours(error):
                _check_names(function, kwargs)
                _explain(function, args, kwargs, error)
            raise

    return cast("F", call)


def check_taken(
    function: Callable[..., Any],
    given: Iterable[str],
    where: str,
    *,
    own: Iterable[str] = (),
) -> None:
    """Raise unless a function takes arguments of these names, but for those of ours."""
    taken = [
        name
        for name in list(inspect.signature(function).parameters)[1:]
        if name not in own
    ]
    unknown = [name for name in given if name not in taken]
    if unknown:
        msg = f"{where} has no argument {unknown[0]!r}; there are {taken}."
        raise TypeError(msg)


def is_ours(error: BaseException) -> bool:
    """Whether a line of this package said ``raise``.

    What it asserts is no message: what the signature rules out may break it.
    """
    tb = error.__traceback__
    if tb is None or isinstance(error, AssertionError):
        return False
    while tb.tb_next is not None:
        tb = tb.tb_next
    code = tb.tb_frame.f_code
    if not code.co_filename.startswith(_PACKAGE):
        return False
    return dis.opname[code.co_code[tb.tb_lasti]] in {"RAISE_VARARGS", "RERAISE"}


def _given(
    function: Callable[..., Any], args: Any, kwargs: Any
) -> list[tuple[str, Any, str]]:
    """Name, value and annotation of all arguments that were given."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        # Python says it.
        return []
    variable = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    return [
        (name, value, str(signature.parameters[name].annotation))
        for name, value in bound.arguments.items()
        # The object or class of a method is not annotated.
        if signature.parameters[name].kind not in variable
        and signature.parameters[name].annotation is not inspect.Parameter.empty
    ]


@cache
def _flags(function: Callable[..., Any]) -> list[tuple[int, str]]:
    """Position and name of arguments that are true or false."""
    parameters = inspect.signature(function).parameters.values()
    return [
        (i, p.name) for i, p in enumerate(parameters) if str(p.annotation) == "bool"
    ]


def _check_flags(function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    for i, name in _flags(function):
        value = args[i] if i < len(args) else kwargs.get(name, False)
        if not isinstance(value, bool | np.bool_):
            raise TypeError(_message(function, name, value, "bool"))


def _check_names(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Raise where there is no such argument, with the name that it may have here."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    taken = [name for name in parameters if name not in {"self", "cls"}]
    for name in kwargs:
        if name in parameters:
            continue
        known = [
            ours
            for ours, others in _ELSEWHERE.items()
            if ours in taken and name in others
        ]
        # A name of ours that belongs to other functions is no slip of the keyboard.
        slip = [] if name in _OURS else get_close_matches(name, taken, 1, _ALIKE)
        hint = (
            f": it is called {known[0]!r}."
            if known
            else f". Did you mean {slip[0]!r}?"
            if slip
            else f"; it takes {taken}."
        )
        # Without the error of Python, which says the same in fewer words.
        msg = f"{_where(function)} has no argument {name!r}{hint}"
        raise TypeError(msg) from None


def _explain(
    function: Callable[..., Any], args: Any, kwargs: Any, error: Exception
) -> None:
    """Raise again with the argument in front that is of another kind, if there is one."""
    for name, value, annotation in _given(function, args, kwargs):
        if not _fits(value, annotation):
            raise TypeError(_message(function, name, value, annotation)) from error
        colormaps = getattr(sys.modules.get("matplotlib"), "colormaps", ())
        is_name = name.startswith("cmap") and isinstance(value, str)
        if is_name and value not in colormaps:
            msg = f"{name}={value!r} is not a colormap of matplotlib."
            raise ValueError(msg) from error


def _message(
    function: Callable[..., Any], name: str, value: Any, annotation: str
) -> str:
    text = repr(value)
    if len(text) > _LONG or "\n" in text:
        text = "…"
    kind = type(value).__name__
    return f"{name}={text} is a {kind}, but {_where(function)} takes {annotation}."


def _where(function: Callable[..., Any]) -> str:
    return f"nonneg.{function.__module__.split('.')[1]}.{function.__qualname__}"


def _fits(value: Any, annotation: str) -> bool:
    return _is(value, _parsed(annotation))


@cache
def _parsed(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _is(value: Any, kind: ast.expr) -> bool:
    """Whether a value is of an annotated kind, as far as that can be told."""
    if isinstance(kind, ast.BinOp):
        return _is(value, kind.left) or _is(value, kind.right)
    if isinstance(kind, ast.Constant):
        return value is None if kind.value is None else True
    if isinstance(kind, ast.Attribute):
        return _is_named(value, kind.attr)
    if isinstance(kind, ast.Name):
        return _is_named(value, kind.id)
    if isinstance(kind, ast.Subscript):
        parts = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        name = getattr(kind.value, "id", getattr(kind.value, "attr", ""))
        return _is_generic(value, name, parts)
    return True


def _is_array(value: Any) -> bool:
    """Numbers or labels, in rows of one length."""
    if hasattr(value, "tocsr"):
        return False
    try:
        array = np.asarray(value)
    except Exception:  # noqa: BLE001 - whatever it is, it is no array
        return False
    return array.ndim > 0 and array.dtype.kind in "biufSUOT"


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


_NAMED: dict[str, Callable[[Any], bool]] = {
    "bool": _is_flag,
    "int": lambda value: isinstance(value, Integral) and not _is_flag(value),
    "integer": lambda value: isinstance(value, Integral) and not _is_flag(value),
    "float": lambda value: isinstance(value, Real) and not _is_flag(value),
    "Mapping": lambda value: isinstance(value, Mapping),
    # An array without axes has no length.
    "Sequence": lambda value: (
        isinstance(value, Sequence)
        or (isinstance(value, np.ndarray) and value.ndim > 0)
    ),
    "PathLike": lambda value: hasattr(value, "__fspath__"),
    "ArrayLike": _is_array,
    "NDArray": _is_array,
    "sparray": lambda value: hasattr(value, "tocsr"),
    "spmatrix": lambda value: hasattr(value, "tocsr"),
}


def _is_named(value: Any, name: str) -> bool:
    if name in _ALIASES:
        return _fits(value, _ALIASES[name])
    if name in _CLASSES:
        return any(part.__name__ == name for part in type(value).__mro__)
    return _NAMED[name](value) if name in _NAMED else True


def _is_generic(value: Any, name: str, parts: list[ast.expr]) -> bool:
    if name == "Literal":
        options = [part.value for part in parts if isinstance(part, ast.Constant)]
        return any(type(value) is type(x) and value == x for x in options)
    if name == "Callable":
        return callable(value)
    if name == "Mapping":
        return isinstance(value, Mapping) and all(
            _is(key, parts[0]) and _is(entry, parts[1])
            for key, entry in list(value.items())[:_FIRST]
        )
    if name in {"Sequence", "Iterable", "list", "tuple"}:
        return _is_series(value, name) and _hold(list(value), name, parts)
    return _is_named(value, name)


def _is_series(value: Any, name: str) -> bool:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return False
    if hasattr(value, "__array__"):
        return np.asarray(value).ndim == 1
    return name == "Iterable" or isinstance(value, Sequence)


def _hold(entries: list[Any], name: str, parts: list[ast.expr]) -> bool:
    last = parts[-1]
    any_length = name != "tuple" or (
        isinstance(last, ast.Constant) and last.value is ...
    )
    if any_length:
        return all(_is(entry, parts[0]) for entry in entries[:_FIRST])
    return len(entries) == len(parts) and all(map(_is, entries, parts))
