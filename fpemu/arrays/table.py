"""The table of NumPy's array functions, and what its entries have in common.

Kinds are those of `ufuncs`: "rounded" once per element or step, "exact", or a "plain" answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays.definition import Array
from fpemu.arrays.operations import in_format
from fpemu.arrays.ufuncs import Supported
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import Format

FUNCTIONS: dict[Any, Supported] = {}


def supports(*functions: Any, kind: str, how: str) -> Callable[[Callable], Callable]:
    """Enter the decorated function for each of NumPy's `functions`."""

    def enter(run: Callable) -> Callable:
        for function in functions:
            FUNCTIONS[function] = Supported(kind, how, run)
        return run

    return enter


def wrap(result: Any, f: Format) -> Any:
    """Results with values of `f` as Arrays, at any depth; indices, booleans and shapes stay."""
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(wrap(r, f) for r in result))
    if isinstance(result, (tuple, list)):
        return type(result)(wrap(r, f) for r in result)
    if isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind in "fO":
        return Array(np.asarray(result), f)
    return result


def formats_in(value: Any) -> list[Format]:
    if isinstance(value, Array):
        return [value.format]
    if isinstance(value, (tuple, list)):
        return [f for v in value for f in formats_in(v)]
    return []


def values(value: Any, f: Format, name: str) -> Any:
    """Arrays, numbers and nested lists of them as values of `f`."""
    if isinstance(value, (tuple, list)) and formats_in(value):
        return type(value)(values(v, f, name) for v in value)
    return in_format(value, f, name)


def only(formats: list[Format], name: str) -> Format:
    for g in formats[1:]:
        if g != formats[0]:
            raise ArgumentError(
                f"{name} of {formats[0].name} and {g.name}: arrays of different formats do not mix; "
                f"cast one, for example .astype({formats[0].name!r})"
            )
    return formats[0]


def plain_argument(v: Any, name: str) -> Any:
    if formats_in(v):
        raise ArgumentError(f"numpy.{name}: an Array cannot be an axis, index, size or option")
    return v


def plain_options(kwargs: dict[str, Any], name: str) -> dict[str, Any]:
    given = [k for k in ("dtype", "casting") if kwargs.get(k) not in (None, "same_kind")]
    if given:
        raise UnsupportedError(
            f"numpy.{name} with {', '.join(given)} is not supported on an fpemu Array; cast the result "
            "with .astype(format)"
        )
    return {k: plain_argument(v, name) for k, v in kwargs.items()}


def no_out(name: str, out: Any) -> None:
    if out is not None:
        raise UnsupportedError(
            f"numpy.{name} with out= is not supported: an fpemu Array is immutable, and results must "
            "not leave their format; use the result"
        )


def none(name: str, options: dict[str, Any]) -> None:
    given = sorted(k for k, v in options.items() if v is not None)
    if given:
        raise UnsupportedError(
            f"numpy.{name} with {', '.join(given)} is not supported on an fpemu Array"
        )
