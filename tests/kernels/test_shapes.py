"""The annotations of kernels are checked, and hold."""

from __future__ import annotations

import inspect
import typing
from importlib import import_module
from pkgutil import iter_modules

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import nonneg.kernels


def annotated():
    """Kernels that take jaxtyping arrays."""
    for info in iter_modules(nonneg.kernels.__path__):
        module = import_module(f"nonneg.kernels.{info.name}")
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or name.startswith("_"):
                continue
            if function.__module__ != module.__name__:
                continue
            annotations = inspect.get_annotations(inspect.unwrap(function))
            if any("Float[Array" in str(a) for a in annotations.values()):
                yield pytest.param(function, id=f"{info.name}.{name}")


KERNELS = list(annotated())


def arguments(function, *, dtype="float32", odd=None):
    """Arrays as annotated, for p = 5 and k = 3; ``odd`` names one that is longer."""
    hints = typing.get_type_hints(
        inspect.unwrap(function), vars(import_module(function.__module__))
    )
    result = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        options = [hint, *typing.get_args(hint)]
        dims = next((str(h.dim_str) for h in options if hasattr(h, "dim_str")), "")
        if parameter.default is not inspect.Parameter.empty and not dims.split():
            continue
        sizes = {"p": 5, "k": 3, "n": 5, "m": 3, "d": 2}
        shape = [sizes[dim] for dim in dims.split() if not dim.startswith("*")]
        if name == odd:
            shape[-1] += 1
        result[name] = jnp.ones(shape, dtype)
    return result


def test_all_are_found():
    names = {param.id for param in KERNELS}
    assert names >= {
        "hals.hals_update",
        "kkt.projected_gradient",
        "mu.mu_update",
        "nnls.nnls",
    }


@pytest.mark.parametrize("function", KERNELS)
def test_right_shapes_pass(function):
    result = function(**arguments(function))
    shapes = [array.shape for array in jax.tree.leaves(result)]
    expected = {"unit_diagonal": [(3,), (3, 3)]}
    assert shapes == expected.get(function.__name__, [(5, 3)])


@pytest.mark.parametrize("function", KERNELS)
def test_wrong_shapes_are_caught(function):
    for name in arguments(function):
        with pytest.raises(TypeCheckError, match=name):
            function(**arguments(function, odd=name))
        with pytest.raises(TypeCheckError, match=name):
            jax.jit(function)(**arguments(function, odd=name))


@pytest.mark.parametrize("function", KERNELS)
def test_integers_are_caught(function):
    with pytest.raises(TypeCheckError):
        function(**arguments(function, dtype="int32"))
