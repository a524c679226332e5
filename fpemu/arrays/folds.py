"""Reductions by a left fold: elements are taken one after the other, each step rounded.

The order is that of the index along the axis (for several axes, C order), so that the result is
that of the loop one would write.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays.definition import Array
from fpemu.arrays.operations import in_format
from fpemu.errors import ArgumentError
from fpemu.formats import Format

# What an empty reduction gives.
_IDENTITIES: dict[str, Any] = {
    "add": 0.0,
    "multiply": 1.0,
    "hypot": 0.0,
    "logical_and": True,
    "logical_or": False,
    "logical_xor": False,
}


def as_array_of(v: object, f: Format, op: str) -> Array:
    """An operand as an Array of the format `f`."""
    return v if isinstance(v, Array) and v.format == f else Array(in_format(v, f, op), f)


def reduce(name: str, step: Callable[..., Any], x: Array, options: dict[str, Any]):
    """The fold of `x` along ``axis`` (default 0, None for all), from ``initial`` if given, else from
    the first element; ``where`` leaves elements out, ``keepdims`` keeps axes of length 1.

    Sums start at +0 as `fp.sum` does.
    """
    axes = _axes(options.get("axis", 0), x.ndim, name)
    rows = _rows(x, axes)
    chosen = options.get("where", True)
    initial = options.get("initial")
    initial = None if initial is np._NoValue else initial  # type: ignore[attr-defined]
    if name == "add" and chosen is True and initial is None:
        from fpemu import linalg

        total: Any = linalg.sum(rows, 0)
    else:
        total = _fold(name, step, rows, initial, _rows_of_mask(chosen, x, axes))
    if is_wanted(options.get("keepdims")):
        total = total.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
    return total


def _fold(name: str, step, rows: Array, initial: object, mask: np.ndarray | None):
    shape, first = rows.shape[1:], 0
    if initial is None and (mask is not None or len(rows) == 0):
        if name not in _IDENTITIES:
            raise ArgumentError(
                f"numpy.{name}.reduce of nothing, or with where=, has no result; give initial="
            )
        initial = _IDENTITIES[name]
    total: Any
    if initial is None:
        total, first = rows[0], 1
        if name.startswith("logical"):
            total = total._values != 0
    elif isinstance(initial, bool):
        total = np.full(shape, initial)
    else:
        start = in_format(initial, rows.format, name)
        total = Array(np.broadcast_to(start, shape), rows.format)
    for i in range(first, len(rows)):
        new = step(total, rows[i])
        if mask is not None:
            new = np.where(mask[i], new, total)
        total = new
    return total


def accumulate(name: str, step: Callable[..., Any], x: Array, options: dict[str, Any]):
    """All partial results of the fold along ``axis`` (default 0), beginning with the first element."""
    axis = options.get("axis", 0)
    (axis,) = _axes(0 if axis is None else axis, x.ndim, name)
    rows = _rows(x, (axis,))
    if len(rows) == 0:
        return x
    partial = [rows[0] if not name.startswith("logical") else rows[0]._values != 0]
    for i in range(1, len(rows)):
        partial.append(step(partial[-1], rows[i]))
    return np.moveaxis(np.stack(partial), 0, axis)


def is_wanted(option: Any) -> bool:
    """Whether an option that NumPy may leave out is true."""
    return option is not np._NoValue and bool(option)  # type: ignore[attr-defined]


def _axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    try:
        if axis is None:
            return tuple(range(ndim))
        return tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axis, ndim)))
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"numpy.{name}: {error}") from None


def _rows(x: Array, axes: tuple[int, ...]) -> Array:
    """`x` with the `axes` joined into one, the first."""
    return Array(_joined(x._values, axes), x.format)


def _joined(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    count = math.prod(values.shape[i] for i in axes)
    front = np.moveaxis(values, axes, range(len(axes)))
    return front.reshape(count, *front.shape[len(axes) :])


def _rows_of_mask(mask: Any, x: Array, axes: tuple[int, ...]) -> np.ndarray | None:
    if mask is True or mask is np._NoValue:  # type: ignore[attr-defined]
        return None
    return _joined(np.broadcast_to(np.asarray(mask, bool), x.shape), axes)
