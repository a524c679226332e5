"""NumPy's array functions on Arrays: the table of what is right, and how; the rest is refused.

Kinds are those of `ufuncs`. Most entries are "exact": they move values about. Those that compute
are sums and products in a stated order, one rounding per step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu import events
from fpemu.arrays import folds, storage
from fpemu.arrays.definition import Array, asarray
from fpemu.arrays.operations import format_among, in_format, round_to_integer
from fpemu.arrays.ufuncs import Supported
from fpemu.errors import ArgumentError, FpemuError, UnsupportedError
from fpemu.formats import Format

FUNCTIONS: dict[Any, Supported] = {}


def _supports(*functions: Any, kind: str, how: str) -> Callable[[Callable], Callable]:
    """Enter the decorated function for each of NumPy's `functions`."""

    def enter(run: Callable) -> Callable:
        for function in functions:
            FUNCTIONS[function] = Supported(kind, how, run)
        return run

    return enter


def _wrap(result: Any, f: Format) -> Any:
    """Results with values of `f` as Arrays, at any depth; indices, booleans and shapes stay."""
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_wrap(r, f) for r in result))
    if isinstance(result, (tuple, list)):
        return type(result)(_wrap(r, f) for r in result)
    if isinstance(result, (np.ndarray, np.generic)) and result.dtype.kind in "fO":
        return Array(np.asarray(result), f)
    return result


def _formats_in(value: Any) -> list[Format]:
    if isinstance(value, Array):
        return [value.format]
    if isinstance(value, (tuple, list)):
        return [f for v in value for f in _formats_in(v)]
    return []


def _values(value: Any, f: Format, name: str) -> Any:
    """Arrays, numbers and nested lists of them as values of `f`."""
    if isinstance(value, (tuple, list)) and _formats_in(value):
        return type(value)(_values(v, f, name) for v in value)
    return in_format(value, f, name)


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
        f = _only(_formats_in(list(args[:count])) or _formats_in(list(args)), name)
        if name in _FILL_WITH_ZERO and not f.has_zero:
            raise UnsupportedError(f"numpy.{name} fills with zeros, and {f.name} has none")
        moved = [_values(v, f, name) for v in args[:count]]
        rest = [_plain_argument(v, name) for v in args[count:]]
        if not f.fits_float64 and name in _SORTING and any(_has_nan(v) for v in moved):
            raise UnsupportedError(
                f"numpy.{name} of NaN in {f.name}, whose values are beyond float64, is not supported"
            )
        return _wrap(function(*moved, *rest, **_plain_options(kwargs, name)), f)

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


def _only(formats: list[Format], name: str) -> Format:
    for g in formats[1:]:
        if g != formats[0]:
            raise ArgumentError(
                f"{name} of {formats[0].name} and {g.name}: arrays of different formats do not mix; "
                f"cast one, for example .astype({formats[0].name!r})"
            )
    return formats[0]


def _plain_argument(v: Any, name: str) -> Any:
    if _formats_in(v):
        raise ArgumentError(f"numpy.{name}: an Array cannot be an axis, index, size or option")
    return v


def _plain_options(kwargs: dict[str, Any], name: str) -> dict[str, Any]:
    given = [k for k in ("dtype", "casting") if kwargs.get(k) not in (None, "same_kind")]
    if given:
        raise UnsupportedError(
            f"numpy.{name} with {', '.join(given)} is not supported on an fpemu Array; cast the result "
            "with .astype(format)"
        )
    return {k: _plain_argument(v, name) for k, v in kwargs.items()}


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
        f = _only(_formats_in(list(args)), name)
        if not f.fits_float64 and name not in _OF_ANY_OBJECT:
            raise UnsupportedError(
                f"numpy.{name} of {f.name}, whose values are beyond float64, is not supported"
            )
        plain = [
            _values(v, f, name) if i < operands else _plain_argument(v, name)
            for i, v in enumerate(args)
        ]
        return function(*plain, **_plain_options(kwargs, name))

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


@_supports(np.may_share_memory, np.shares_memory, kind="plain", how="of the carriers")
def _share_memory(a: Any, b: Any, **options: Any) -> bool:
    a, b = (v._values if isinstance(v, Array) else v for v in (a, b))
    return np.shares_memory(a, b, **options)


@_supports(np.array_repr, np.array_str, np.array2string, kind="plain", how="repr(x)")
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


@_supports(np.where, kind="exact", how="values chosen; numbers rounded to the format first")
def _where(condition: Any, *choices: Any):
    mask = _mask(condition)
    if not choices:
        return np.where(mask)
    f = _only(_formats_in(list(choices)) or _formats_in(condition), "where")
    return Array(np.where(mask, *(in_format(v, f, "where") for v in choices)), f)


@_supports(np.select, kind="exact", how="values chosen; numbers rounded to the format first")
def _select(condlist: Any, choicelist: Any, default: Any = 0):
    f = _only(_formats_in([list(choicelist), default]), "select")
    choices = [in_format(v, f, "select") for v in choicelist]
    masks = [_mask(c) for c in condlist]
    return Array(np.select(masks, choices, in_format(default, f, "select")), f)


@_supports(np.choose, kind="exact", how="values chosen")
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise"):
    _no_out("choose", out)
    _plain_argument(a, "choose")
    f = _only(_formats_in(list(choices)), "choose")
    return Array(np.choose(a, [in_format(v, f, "choose") for v in choices], mode=mode), f)  # type: ignore[call-overload]


@_supports(np.compress, np.extract, kind="exact", how="values chosen")
def _extract(condition: Any, x: Any, axis: Any = None, out: Any = None):
    _no_out("compress", out)
    mask = _mask(condition)
    return Array(np.compress(mask.ravel(), x._values, axis=axis), x.format)


@_supports(np.insert, kind="exact", how="numbers rounded to the format first")
def _insert(x: Any, obj: Any, values: Any, axis: Any = None):
    f = format_among("insert", (x, values))
    _plain_argument([obj, axis], "insert")
    placed = np.insert(in_format(x, f, "insert"), obj, in_format(values, f, "insert"), axis)
    return Array(placed, f)


@_supports(np.pad, kind="exact", how="modes constant, edge, reflect, symmetric, wrap, empty")
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
    _plain_argument(pad_width, "pad")
    mode = "constant" if mode == "empty" else mode
    return Array(np.pad(x._values, pad_width, mode, **options), x.format)


@_supports(np.zeros_like, np.empty_like, kind="exact", how="of the same format")
def _zeros_like(x: Any, *args: Any, **options: Any):
    return _full(x, 0.0, "zeros_like", args, options)


@_supports(np.ones_like, kind="exact", how="of the same format")
def _ones_like(x: Any, *args: Any, **options: Any):
    return _full(x, 1.0, "ones_like", args, options)


@_supports(np.full_like, kind="exact", how="the number rounded to the format first")
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


@_supports(np.nan_to_num, kind="exact", how="infinities become the format's largest value")
def _nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None):
    f = x.format
    high = in_format(f.max if posinf is None else posinf, f, "nan_to_num")
    low = in_format(f.min if neginf is None else neginf, f, "nan_to_num")
    values = np.where(x._values == np.inf, high, np.where(x._values == -np.inf, low, x._values))
    return Array(np.where(values != values, in_format(nan, f, "nan_to_num"), values), f)


@_supports(np.clip, kind="exact", how="minimum(maximum(x, low), high)")
def _clip(x: Any, *limits: Any, out: Any = None, **options: Any):
    _no_out("clip", out)
    low = options.pop("a_min", options.pop("min", limits[0] if limits else None))
    high = options.pop("a_max", options.pop("max", limits[1] if len(limits) > 1 else None))
    _none("clip", options)
    x = x if isinstance(x, Array) else asarray(x)
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@_supports(np.round, np.around, kind="rounded", how="rint; decimals other than 0 refused")
def _round(x: Any, decimals: int = 0, out: Any = None):
    _no_out("round", out)
    if decimals:
        raise UnsupportedError(
            "numpy.round of an fpemu Array rounds to integers only: decimal fractions are not values "
            "of a binary format"
        )
    return round_to_integer(x, rounding="nearest_even")


# -- reductions -------------------------------------------------------------------------------------


def _reduces(*functions: Any, ufunc: np.ufunc, how: str, kind: str = "rounded") -> None:
    @_supports(*functions, kind=kind, how=how)
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        return ufunc.reduce(x, axis=axis, dtype=dtype, out=out, **options)


def _accumulates(*functions: Any, ufunc: np.ufunc, how: str) -> None:
    @_supports(*functions, kind="rounded", how=how)
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        if options.pop("include_initial", False):
            raise UnsupportedError("include_initial=True is not supported on an fpemu Array")
        _none("cumsum", options)
        x = x.reshape(-1) if axis is None else x
        return ufunc.accumulate(x, axis=axis or 0, dtype=dtype, out=out)


_reduces(np.sum, ufunc=np.add, how="fp.sum: from +0, in the order of the index")
_reduces(np.prod, ufunc=np.multiply, how="one rounding per step, in the order of the index")
_reduces(np.max, np.amax, ufunc=np.maximum, how="NaN wins", kind="exact")
_reduces(np.min, np.amin, ufunc=np.minimum, how="NaN wins", kind="exact")
_reduces(np.nanmax, ufunc=np.fmax, how="NaN loses", kind="exact")
_reduces(np.nanmin, ufunc=np.fmin, how="NaN loses", kind="exact")
_accumulates(np.cumsum, np.cumulative_sum, ufunc=np.add, how="one rounding per step, in order")
_accumulates(
    np.cumprod, np.cumulative_prod, ufunc=np.multiply, how="one rounding per step, in order"
)


def _without_nan(*functions: Any, of: Any, number: float) -> None:
    @_supports(*functions, kind="rounded", how=f"{of.__name__} with NaN read as {number:g}")
    def run(x: Any, *args: Any, **options: Any):
        return of(np.where(np.isnan(x), number, x), *args, **options)


_without_nan(np.nansum, of=np.sum, number=0.0)
_without_nan(np.nanprod, of=np.prod, number=1.0)
_without_nan(np.nancumsum, of=np.cumsum, number=0.0)
_without_nan(np.nancumprod, of=np.cumprod, number=1.0)


@_supports(np.ptp, kind="rounded", how="max - min, rounded once")
def _ptp(x: Any, axis: Any = None, out: Any = None, **options: Any):
    _no_out("ptp", out)
    return np.max(x, axis=axis, **options) - np.min(x, axis=axis, **options)


@_supports(np.diff, kind="rounded", how="one subtraction per element and order")
def _diff(x: Any, n: int = 1, axis: int = -1, **ends: Any):
    _none("diff", {k: None if v is np._NoValue else v for k, v in ends.items()})  # type: ignore[attr-defined]
    if n < 0:
        raise ArgumentError(f"diff takes an order of at least 0, got {n}")
    for _ in range(n):
        rows = np.moveaxis(x, axis, 0)
        x = np.moveaxis(rows[1:] - rows[:-1], 0, axis)
    return x


@_supports(np.ediff1d, kind="rounded", how="one subtraction per element")
def _ediff1d(x: Any, to_end: Any = None, to_begin: Any = None):
    _none("ediff1d", {"to_end": to_end, "to_begin": to_begin})
    return _diff(x.reshape(-1))


@_supports(np.trace, kind="rounded", how="fp.sum of the diagonal")
def _trace(
    x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
):
    _none("trace", {"dtype": dtype, "out": out})
    return np.sum(np.diagonal(x, offset, axis1, axis2), axis=-1)


def _average(name: str) -> Callable[..., Any]:
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        from fpemu import linalg

        keep = folds.is_wanted(options.pop("keepdims", False))
        ddof = {"ddof": options.pop("ddof")} if "ddof" in options else {}
        given = {k: v for k, v in options.items() if v is not np._NoValue}  # type: ignore[attr-defined]
        _none(name, {"dtype": dtype, "out": out, **given})
        if not (axis is None or isinstance(axis, (int, np.integer))):
            raise UnsupportedError(f"numpy.{name} of an fpemu Array takes one axis or all")
        result = getattr(linalg, name)(x, axis, **ddof)
        if keep:
            whole = range(x.ndim) if axis is None else [axis % x.ndim]
            result = result.reshape(tuple(1 if i in whole else n for i, n in enumerate(x.shape)))
        return result

    return run


for _name in ("mean", "var"):
    FUNCTIONS[getattr(np, _name)] = Supported(
        "rounded", f"fp.{_name}: sums, then a division", _average(_name)
    )


@_supports(np.einsum, kind="rounded", how="fp.einsum of two operands")
def _einsum(subscripts: Any, *operands: Any, **options: Any):
    from fpemu import linalg

    _none("einsum", {k: v for k, v in options.items() if v is not False})
    if len(operands) != 2:
        raise UnsupportedError("numpy.einsum of fpemu Arrays takes two operands at a time")
    f = format_among("einsum", operands)
    a, b = (Array(in_format(v, f, "einsum"), f) for v in operands)
    return linalg.einsum(subscripts, a, b)


# -- products ---------------------------------------------------------------------------------------


@_supports(np.dot, np.linalg.matmul, kind="rounded", how="fp.dot and fp.matmul")
def _dot(a: Any, b: Any, /, out: Any = None):
    _no_out("dot", out)
    f = format_among("dot", (a, b))
    x, y = (Array(in_format(v, f, "dot"), f) for v in (a, b))
    if 0 in (x.ndim, y.ndim):
        return x * y
    if y.ndim > 2:
        raise UnsupportedError(
            "numpy.dot of an array of more than two dimensions on the right is not supported on an "
            "fpemu Array; use fp.matmul"
        )
    return np.matmul(x, y)


@_supports(np.inner, np.vdot, kind="rounded", how="of vectors: fp.dot")
def _inner(a: Any, b: Any):
    f = format_among("inner", (a, b))
    x, y = (Array(in_format(v, f, "inner"), f) for v in (a, b))
    if (x.ndim, y.ndim) != (1, 1):
        raise UnsupportedError("numpy.inner and vdot of fpemu Arrays take vectors; use fp.matmul")
    return np.matmul(x, y)


@_supports(np.outer, np.linalg.outer, kind="rounded", how="one rounding per product")
def _outer(a: Any, b: Any, /, out: Any = None):
    _no_out("outer", out)
    f = format_among("outer", (a, b))
    x, y = (Array(in_format(v, f, "outer"), f).reshape(-1) for v in (a, b))
    return np.multiply.outer(x, y)


@_supports(np.save, kind="exact", how="codes, with the format in the dtype; fp.load reads it")
def _save(file: Any, arr: Any, allow_pickle: bool = True):
    storage.save(file, arr)


def _no_out(name: str, out: Any) -> None:
    if out is not None:
        raise UnsupportedError(
            f"numpy.{name} with out= is not supported: an fpemu Array is immutable, and results must "
            "not leave their format; use the result"
        )


def _none(name: str, options: dict[str, Any]) -> None:
    given = sorted(k for k, v in options.items() if v is not None)
    if given:
        raise UnsupportedError(
            f"numpy.{name} with {', '.join(given)} is not supported on an fpemu Array"
        )


_IMMUTABLE = ("copyto", "put", "place", "putmask", "fill_diagonal", "put_along_axis")
_HINTS = {
    **dict.fromkeys(
        _IMMUTABLE, "an Array is immutable: make a new one, for example by numpy.where"
    ),
    **dict.fromkeys(("nanmean", "average"), "use fp.mean, or fp.sum(x * w) / fp.sum(w)"),
    **dict.fromkeys(
        ("tensordot", "kron", "cross"), "use fp.einsum, or fp.matmul and * with reshape"
    ),
    "astype": "use x.astype(format)",
    **dict.fromkeys(("savez", "savez_compressed"), "use numpy.save for each Array"),
    "savetxt": "use numpy.savetxt(file, numpy.asarray(x)), or numpy.save",
}


def apply(function: Any, args: tuple, kwargs: dict[str, Any]):
    """What ``__array_function__`` returns; `UnsupportedError` for what is not in the table."""
    entry = FUNCTIONS.get(function)
    name = f"{function.__module__}.{function.__name__}".replace("numpy.numpy", "numpy")
    if entry is None:
        hint = _HINTS.get(function.__name__, "use fp.sum, fp.dot or fp.matmul")
        raise UnsupportedError(
            f"{name} is not supported on an fpemu Array: it would compute outside the format; {hint}, "
            "or leave with numpy.asarray(x)"
        )
    try:
        return entry.run(*args, **kwargs)
    except FpemuError:
        raise
    except (TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ArgumentError(f"{name}: {error}") from error


if hasattr(np, "fix"):
    FUNCTIONS[np.fix] = Supported(
        "rounded",
        "round_to_integer, toward_zero",
        lambda x, out=None: round_to_integer(x, rounding="toward_zero"),
    )
