"""The terms of a sum to be explained, of whatever kind, and which of them rounding changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.errors import ArgumentError
from fpemu.numerals import number_of
from fpemu.reals import Real, real


def listed(x: object, asker: str = "explain.sum") -> Any:
    """The terms as an Array, or as a NumPy array that holds them exactly; errors name the `asker`."""
    if isinstance(x, (Array, np.ndarray)):
        if x.ndim != 1:
            raise ArgumentError(
                f"{asker} takes one sequence of numbers, got an array of shape {x.shape}; "
                "flatten it, or explain one row"
            )
        if isinstance(x, Array) or x.dtype.kind not in "OUS":
            return x
    if isinstance(x, (str, bytes)) or not isinstance(x, Iterable):
        raise ArgumentError(f"{asker} takes a sequence of numbers, got {x!r}")
    values = list(x)
    for value in values:
        if isinstance(value, Iterable) and not isinstance(value, str) and np.ndim(value) > 0:  # type: ignore[arg-type]
            raise ArgumentError(
                f"{asker} takes one sequence of numbers, got one that holds {value!r}"
            )
    if all(type(value) is float for value in values):
        return np.array(values, np.float64)
    exactly = [real(number_of(value, asker)) for value in values]
    if all(type(value) is float for value in exactly):
        return np.array(exactly, np.float64)
    return np.array([*exactly, None], object)[:-1]


def changed_in(given: Any, terms: list[Real]) -> int:
    """How many terms were not numbers of the format."""
    if isinstance(given, np.ndarray) and given.dtype.kind not in "fiuO":
        given = given.astype(np.float64)  # ml_dtypes' own
    return sum(a == a and a != b for a, b in zip(given.tolist(), terms, strict=True))
