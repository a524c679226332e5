"""NumPy's functions that compute: sums and products in a stated order, one rounding per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fpemu.arrays import folds, storage
from fpemu.arrays.definition import Array
from fpemu.arrays.operations import format_among, in_format, round_to_integer
from fpemu.arrays.table import (
    FUNCTIONS,
    no_out,
    none,
    supports,
)
from fpemu.arrays.ufuncs import Supported
from fpemu.errors import ArgumentError, UnsupportedError

# -- reductions -------------------------------------------------------------------------------------


def _reduces(*functions: Any, ufunc: np.ufunc, how: str, kind: str = "rounded") -> None:
    @supports(*functions, kind=kind, how=how)
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        return ufunc.reduce(x, axis=axis, dtype=dtype, out=out, **options)


def _accumulates(*functions: Any, ufunc: np.ufunc, how: str) -> None:
    @supports(*functions, kind="rounded", how=how)
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        if options.pop("include_initial", False):
            raise UnsupportedError("include_initial=True is not supported on an fpemu Array")
        none("cumsum", options)
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
    @supports(*functions, kind="rounded", how=f"{of.__name__} with NaN read as {number:g}")
    def run(x: Any, *args: Any, **options: Any):
        return of(np.where(np.isnan(x), number, x), *args, **options)


_without_nan(np.nansum, of=np.sum, number=0.0)
_without_nan(np.nanprod, of=np.prod, number=1.0)
_without_nan(np.nancumsum, of=np.cumsum, number=0.0)
_without_nan(np.nancumprod, of=np.cumprod, number=1.0)


@supports(np.ptp, kind="rounded", how="max - min, rounded once")
def _ptp(x: Any, axis: Any = None, out: Any = None, **options: Any):
    no_out("ptp", out)
    return np.max(x, axis=axis, **options) - np.min(x, axis=axis, **options)


@supports(np.diff, kind="rounded", how="one subtraction per element and order")
def _diff(x: Any, n: int = 1, axis: int = -1, **ends: Any):
    none("diff", {k: None if v is np._NoValue else v for k, v in ends.items()})  # type: ignore[attr-defined]
    if n < 0:
        raise ArgumentError(f"diff takes an order of at least 0, got {n}")
    for _ in range(n):
        rows = np.moveaxis(x, axis, 0)
        x = np.moveaxis(rows[1:] - rows[:-1], 0, axis)
    return x


@supports(np.ediff1d, kind="rounded", how="one subtraction per element")
def _ediff1d(x: Any, to_end: Any = None, to_begin: Any = None):
    none("ediff1d", {"to_end": to_end, "to_begin": to_begin})
    return _diff(x.reshape(-1))


@supports(np.trace, kind="rounded", how="fp.sum of the diagonal")
def _trace(
    x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
):
    none("trace", {"dtype": dtype, "out": out})
    return np.sum(np.diagonal(x, offset, axis1, axis2), axis=-1)


def _average(name: str) -> Callable[..., Any]:
    def run(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any):
        from fpemu import linalg

        keep = folds.is_wanted(options.pop("keepdims", False))
        ddof = {"ddof": options.pop("ddof")} if "ddof" in options else {}
        given = {k: v for k, v in options.items() if v is not np._NoValue}  # type: ignore[attr-defined]
        none(name, {"dtype": dtype, "out": out, **given})
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


@supports(np.einsum, kind="rounded", how="fp.einsum of two operands")
def _einsum(subscripts: Any, *operands: Any, **options: Any):
    from fpemu import linalg

    none("einsum", {k: v for k, v in options.items() if v is not False})
    if len(operands) != 2:
        raise UnsupportedError("numpy.einsum of fpemu Arrays takes two operands at a time")
    f = format_among("einsum", operands)
    a, b = (Array(in_format(v, f, "einsum"), f) for v in operands)
    return linalg.einsum(subscripts, a, b)


# -- products ---------------------------------------------------------------------------------------


@supports(np.dot, np.linalg.matmul, kind="rounded", how="fp.dot and fp.matmul")
def _dot(a: Any, b: Any, /, out: Any = None):
    no_out("dot", out)
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


@supports(np.inner, np.vdot, kind="rounded", how="of vectors: fp.dot")
def _inner(a: Any, b: Any):
    f = format_among("inner", (a, b))
    x, y = (Array(in_format(v, f, "inner"), f) for v in (a, b))
    if (x.ndim, y.ndim) != (1, 1):
        raise UnsupportedError("numpy.inner and vdot of fpemu Arrays take vectors; use fp.matmul")
    return np.matmul(x, y)


@supports(np.outer, np.linalg.outer, kind="rounded", how="one rounding per product")
def _outer(a: Any, b: Any, /, out: Any = None):
    no_out("outer", out)
    f = format_among("outer", (a, b))
    x, y = (Array(in_format(v, f, "outer"), f).reshape(-1) for v in (a, b))
    return np.multiply.outer(x, y)


@supports(np.save, kind="exact", how="codes, with the format in the dtype; fp.load reads it")
def _save(file: Any, arr: Any, allow_pickle: bool = True):
    storage.save(file, arr)


if hasattr(np, "fix"):
    FUNCTIONS[np.fix] = Supported(
        "rounded",
        "round_to_integer, toward_zero",
        lambda x, out=None: round_to_integer(x, rounding="toward_zero"),
    )
