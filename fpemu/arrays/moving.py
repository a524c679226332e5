"""NumPy's functions that move and choose values, or ask about them: nothing is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu import events
from fpemu.arrays.definition import Array, asarray
from fpemu.arrays.operations import format_among, in_format, round_to_integer
from fpemu.arrays.table import (
    FUNCTIONS,
    formats_in,
    no_out,
    none,
    only,
    plain_argument,
    plain_options,
    supports,
    values,
    wrap,
)
from fpemu.arrays.ufuncs import Supported
from fpemu.errors import UnsupportedError


def _moves(*functions: Any, operands: int = 1, how: str = "values moved, none changed") -> None:
    """Functions whose first `operands` arguments hold values (-1: all), and which change none."""
    for function in functions:
        FUNCTIONS[function] = Supported("exact", how, _mover(function, operands))


def _mover(function: Any, operands: int):
    def run(*args: Any, **kwargs: Any):
        name = function.__name__
        if kwargs.get("out") is not None:
            raise UnsupportedError(f"numpy.{name} with out= is not supported: Arrays are immutable")
        count = len(args) if operands < 0 else operands
        if len(args) < count:
            raise UnsupportedError(
                f"numpy.{name} of an fpemu Array takes the arrays as its first arguments"
            )
        f = only(formats_in(list(args[:count])) or formats_in(list(args)), name)
        if name in _FILL_WITH_ZERO and not f.has_zero:
            raise UnsupportedError(f"numpy.{name} fills with zeros, and {f.name} has none")
        moved = [values(v, f, name) for v in args[:count]]
        rest = [plain_argument(v, name) for v in args[count:]]
        if not f.fits_float64 and name in _SORTING and any(_has_nan(v) for v in moved):
            raise UnsupportedError(
                f"numpy.{name} of NaN in {f.name}, whose values are beyond float64, is not supported"
            )
        return wrap(function(*moved, *rest, **plain_options(kwargs, name)), f)

    return run


_FILL_WITH_ZERO = ("tril", "triu", "diag", "diagflat", "resize")
_SORTING = (
    *("sort", "partition", "unique", "unique_all", "unique_counts", "unique_inverse"),
    *("unique_values", "union1d", "intersect1d", "setdiff1d", "setxor1d"),
)
# Questions that NumPy answers rightly of Fractions, too.
_OF_ANY_OBJECT = (
    *("ndim", "shape", "size", "any", "all", "count_nonzero", "nonzero", "flatnonzero", "argwhere"),
    *("array_equal", "array_equiv", "isin", "isreal", "iscomplexobj", "isrealobj"),
)


def _has_nan(v: Any) -> bool:
    parts = v if isinstance(v, (tuple, list)) else [v]
    return any(bool(np.any(np.asarray(part) != np.asarray(part))) for part in parts)


_moves(
    *(np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.expand_dims),
    *(np.squeeze, np.broadcast_to, np.tile, np.repeat, np.roll, np.rot90, np.flip, np.fliplr),
    *(np.flipud, np.take, np.take_along_axis, np.diagonal, np.diag, np.diagflat, np.tril, np.triu),
    *(np.delete, np.resize, np.trim_zeros, np.copy, np.sort, np.partition, np.matrix_transpose),
    *(np.permute_dims, np.real, np.array_split, np.split, np.hsplit, np.vsplit, np.dsplit),
    *(np.unique, np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values),
    *(np.concatenate, np.concat, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack),
    *(np.block, np.linalg.matrix_transpose, np.linalg.diagonal),
)
if hasattr(np, "unstack"):  # since NumPy 2.1
    _moves(np.unstack)
_moves(np.broadcast_arrays, np.meshgrid, np.atleast_1d, np.atleast_2d, np.atleast_3d, operands=-1)
_moves(np.append, np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d, operands=2)


# -- questions: booleans, indices, shapes -----------------------------------------------------------


def _asks(*functions: Any, operands: int = 1) -> None:
    for function in functions:
        FUNCTIONS[function] = Supported("plain", "on the exact values", _asker(function, operands))


def _asker(function: Any, operands: int):
    def run(*args: Any, **kwargs: Any):
        name = function.__name__
        if kwargs.get("out") is not None:
            raise UnsupportedError(f"numpy.{name} with out= is not supported on an fpemu Array")
        f = only(formats_in(list(args)), name)
        if not f.fits_float64 and name not in _OF_ANY_OBJECT:
            raise UnsupportedError(
                f"numpy.{name} of {f.name}, whose values are beyond float64, is not supported"
            )
        plain = [
            values(v, f, name) if i < operands else plain_argument(v, name)
            for i, v in enumerate(args)
        ]
        return function(*plain, **plain_options(kwargs, name))

    return run


_asks(
    *(np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.argwhere),
    *(np.nonzero, np.flatnonzero, np.count_nonzero, np.any, np.all, np.iscomplex, np.isreal),
    *(
        np.iscomplexobj,
        np.isrealobj,
        np.isneginf,
        np.isposinf,
        np.ndim,
        np.shape,
        np.size,
        np.lexsort,
    ),
)
_asks(np.searchsorted, np.digitize, np.isin, np.array_equal, np.array_equiv, operands=2)
_asks(np.isclose, np.allclose, operands=2)  # a judgement about exact values, not a computation in f


@supports(np.may_share_memory, np.shares_memory, kind="plain", how="of the carriers")
def _share_memory(a: Any, b: Any, **options: Any) -> bool:
    a, b = (v._values if isinstance(v, Array) else v for v in (a, b))
    return np.shares_memory(a, b, **options)


@supports(np.array_repr, np.array_str, np.array2string, kind="plain", how="repr(x)")
def _text(x: Array, *args: Any, **options: Any) -> str:
    if any(v is not None for v in (*args, *options.values())):
        raise UnsupportedError("numpy's print options are not supported on an fpemu Array")
    return repr(x)


# -- values chosen ----------------------------------------------------------------------------------


def _mask(condition: Any) -> np.ndarray:
    """A condition as booleans; of an Array, where it is not zero."""
    if isinstance(condition, Array):
        return condition._values != 0
    with events.inside():
        return np.asarray(condition, bool)


@supports(np.where, kind="exact", how="values chosen; numbers rounded to the format first")
def _where(condition: Any, *choices: Any):
    mask = _mask(condition)
    if not choices:
        return np.where(mask)
    f = only(formats_in(list(choices)) or formats_in(condition), "where")
    return Array(np.where(mask, *(in_format(v, f, "where") for v in choices)), f)


@supports(np.select, kind="exact", how="values chosen; numbers rounded to the format first")
def _select(condlist: Any, choicelist: Any, default: Any = 0):
    f = only(formats_in([list(choicelist), default]), "select")
    choices = [in_format(v, f, "select") for v in choicelist]
    masks = [_mask(c) for c in condlist]
    return Array(np.select(masks, choices, in_format(default, f, "select")), f)


@supports(np.choose, kind="exact", how="values chosen")
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise"):
    no_out("choose", out)
    plain_argument(a, "choose")
    f = only(formats_in(list(choices)), "choose")
    return Array(np.choose(a, [in_format(v, f, "choose") for v in choices], mode=mode), f)  # type: ignore[call-overload]


@supports(np.compress, np.extract, kind="exact", how="values chosen")
def _extract(condition: Any, x: Any, axis: Any = None, out: Any = None):
    no_out("compress", out)
    mask = _mask(condition)
    return Array(np.compress(mask.ravel(), x._values, axis=axis), x.format)


@supports(np.insert, kind="exact", how="numbers rounded to the format first")
def _insert(x: Any, obj: Any, values: Any, axis: Any = None):
    f = format_among("insert", (x, values))
    plain_argument([obj, axis], "insert")
    placed = np.insert(in_format(x, f, "insert"), obj, in_format(values, f, "insert"), axis)
    return Array(placed, f)


@supports(np.pad, kind="exact", how="modes constant, edge, reflect, symmetric, wrap, empty")
def _pad(x: Any, pad_width: Any, mode: Any = "constant", **options: Any):
    allowed = ("constant", "edge", "reflect", "symmetric", "wrap", "empty")
    odd = options.get("reflect_type", "even") != "even"
    if mode not in allowed or odd:
        raise UnsupportedError(
            f"numpy.pad with mode {mode!r} is not supported on an fpemu Array: it would compute "
            f"outside the format; allowed: {', '.join(allowed)}"
        )
    if mode in ("constant", "empty"):
        options["constant_values"] = in_format(options.get("constant_values", 0), x.format, "pad")
    plain_argument(pad_width, "pad")
    mode = "constant" if mode == "empty" else mode
    return Array(np.pad(x._values, pad_width, mode, **options), x.format)


@supports(np.zeros_like, np.empty_like, kind="exact", how="of the same format")
def _zeros_like(x: Any, *args: Any, **options: Any):
    return _full(x, 0.0, "zeros_like", args, options)


@supports(np.ones_like, kind="exact", how="of the same format")
def _ones_like(x: Any, *args: Any, **options: Any):
    return _full(x, 1.0, "ones_like", args, options)


@supports(np.full_like, kind="exact", how="the number rounded to the format first")
def _full_like(x: Any, fill_value: Any, *args: Any, **options: Any):
    return _full(x, fill_value, "full_like", args, options)


def _full(x: Any, number: Any, name: str, args: tuple, options: dict[str, Any]) -> Array:
    shape = options.pop("shape", None)
    if args or any(v is not None and v is not True for v in options.values()):
        raise UnsupportedError(
            f"numpy.{name} of an fpemu Array takes only shape=; its result has the Array's format"
        )
    like = x.shape if shape is None else shape
    return Array(np.array(np.broadcast_to(in_format(number, x.format, name), like)), x.format)


@supports(np.nan_to_num, kind="exact", how="infinities become the format's largest value")
def _nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None):
    f = x.format
    high = in_format(f.max if posinf is None else posinf, f, "nan_to_num")
    low = in_format(f.min if neginf is None else neginf, f, "nan_to_num")
    values = np.where(x._values == np.inf, high, np.where(x._values == -np.inf, low, x._values))
    return Array(np.where(values != values, in_format(nan, f, "nan_to_num"), values), f)


@supports(np.clip, kind="exact", how="minimum(maximum(x, low), high)")
def _clip(x: Any, *limits: Any, out: Any = None, **options: Any):
    no_out("clip", out)
    low = options.pop("a_min", options.pop("min", limits[0] if limits else None))
    high = options.pop("a_max", options.pop("max", limits[1] if len(limits) > 1 else None))
    none("clip", options)
    x = x if isinstance(x, Array) else asarray(x)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@supports(np.round, np.around, kind="rounded", how="rint; decimals other than 0 refused")
def _round(x: Any, decimals: int = 0, out: Any = None):
    no_out("round", out)
    if decimals:
        raise UnsupportedError(
            "numpy.round of an fpemu Array rounds to integers only: decimal fractions are not values "
            "of a binary format"
        )
    return round_to_integer(x, rounding="nearest_even")
