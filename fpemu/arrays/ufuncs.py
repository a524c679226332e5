"""NumPy's ufuncs on Arrays: the table of what is right, and how; the rest is refused.

Each entry is computed with one rounding per element ("rounded"), changes no value so that nothing
is rounded ("exact"), or answers a question ("plain": a boolean or integer ndarray).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpemu import context
from fpemu.arrays import folds
from fpemu.arrays.definition import Array, array
from fpemu.arrays.operations import (
    check_broadcast,
    compute,
    format_among,
    in_format,
    round_to_integer,
)
from fpemu.convert import round_to
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import Format
from fpemu.neighbours import nextafter, ulp
from fpemu.reals import is_finite, is_infinite, is_nan, is_negative


@dataclass(frozen=True)
class Supported:
    """How a ufunc is computed: `kind` is "rounded", "exact" or "plain"; `how` says it in words."""

    kind: str
    how: str
    run: Callable[..., Any]


def _operation(op: str, how: str = "") -> Supported:
    return Supported("rounded", how or f"fpemu's {op}", lambda *xs: compute(op, *xs))


def _whole(mode: str) -> Supported:
    return Supported(
        "rounded", f"round_to_integer, {mode}", lambda x: round_to_integer(x, rounding=mode)
    )


def _plain(ufunc: np.ufunc) -> Supported:
    """A comparison or question, answered on the exact values."""

    def run(*operands: object):
        f = format_among(ufunc.__name__, operands)
        values = [in_format(v, f, ufunc.__name__) for v in operands]
        check_broadcast(ufunc.__name__, values)
        if not f.fits_float64 and ufunc in _OF_OBJECTS:
            found = [_OF_OBJECTS[ufunc](v) for v in values[0].flat]
            return np.array(found, bool).reshape(values[0].shape)
        with np.errstate(invalid="ignore"):  # NumPy's complaint about objects that are NaN
            return ufunc(*values)

    return Supported("plain", "on the exact values", run)


# The questions that NumPy does not ask of values beyond float64.
_OF_OBJECTS: dict[np.ufunc, Callable[[Any], bool]] = {
    np.isfinite: is_finite,
    np.isinf: is_infinite,
    np.isnan: is_nan,
    np.signbit: is_negative,
    np.logical_not: lambda v: v == 0,
}


def _logical(ufunc: np.ufunc) -> Supported:
    def run(*operands: object):
        f = format_among(ufunc.__name__, operands)
        values = [
            np.asarray(v) if _is_boolean(v) else in_format(v, f, ufunc.__name__) != 0
            for v in operands
        ]
        check_broadcast(ufunc.__name__, values)
        return ufunc(*values)

    return Supported("plain", "of values that are not zero", run)


def _is_boolean(v: object) -> bool:
    return isinstance(v, (bool, np.bool_)) or getattr(v, "dtype", None) == np.bool_


def _exactly(ufunc: np.ufunc, how: str = "no rounding") -> Supported:
    """A function whose results are values of the format again, or nearly always; where the format
    has no such value they are rounded once."""

    def run(*operands: object):
        f = format_among(ufunc.__name__, operands)
        if not f.fits_float64:
            raise UnsupportedError(
                f"numpy.{ufunc.__name__} of {f.name}, whose values are beyond float64, is not supported"
            )
        values = [in_format(v, f, ufunc.__name__) for v in operands]
        check_broadcast(ufunc.__name__, values)
        results = ufunc(*(np.asarray(v, np.float64) for v in values))
        if isinstance(results, tuple):
            return tuple(_wrapped(r, f, ufunc.__name__) for r in results)
        return _wrapped(results, f, ufunc.__name__)

    return Supported("exact", how, run)


def _wrapped(values: np.ndarray, f: Format, op: str):
    if np.asarray(values).dtype.kind in "bi":
        return values
    now = context.current()
    # Infinities stay: nothing has overflowed here.
    kept = "none" if f.signed and f.has_nan else now.saturation
    return Array(round_to(np.asarray(values), f, kept, rounding=now.rounding, op=op), f)


def _ldexp(x: object, n: object) -> Array:
    """x * 2**n, rounded once."""
    f = format_among("ldexp", (x,))
    kind = n.format.name if isinstance(n, Array) else np.asarray(n).dtype
    if isinstance(n, Array) or np.asarray(n).dtype.kind not in "iu":
        raise ArgumentError(f"ldexp takes integers as exponents, got {kind}")
    check_broadcast("ldexp", [in_format(x, f, "ldexp"), np.asarray(n)])
    values, powers = np.broadcast_arrays(in_format(x, f, "ldexp"), np.asarray(n))
    # Within these bounds float64 holds the product of any number of up to 9 exponent bits.
    if f.emin - f.fraction_bits >= -300 and f.emax <= 300:
        with np.errstate(over="ignore"):
            scaled = np.ldexp(
                values.astype(np.float64), np.clip(powers, -700, 700).astype(np.int32)
            )
    else:
        from fractions import Fraction

        scaled = np.empty(values.shape, object)
        for i, (v, p) in enumerate(zip(values.flat, powers.flat, strict=True)):
            number = v if isinstance(v, Fraction) else float(v)
            power = Fraction(2) ** int(np.clip(p, -70000, 70000))
            plain = is_finite(number) and number != 0
            scaled.flat[i] = Fraction(number) * power if plain else number
    return array(scaled, f)


def _next(x: object, toward: object) -> Array:
    f = format_among("nextafter", (x, toward))
    values = [in_format(v, f, "nextafter") for v in (x, toward)]
    return Array(nextafter(values[0], values[1], f), f)


def _spacing(x: object) -> Array:
    f = format_among("spacing", (x,))
    values = in_format(x, f, "spacing")
    if not f.fits_float64:
        raise UnsupportedError(f"numpy.spacing of {f.name} is not supported; use fp.ulp")
    gap = np.asarray(ulp(values, f))
    gap = np.where(np.isinf(values), np.nan, np.copysign(gap, values))
    return Array(round_to(gap, f, "none", count=False), f)


def _heaviside(x: object, at_zero: object) -> Array:
    f = format_among("heaviside", (x, at_zero))
    if not f.fits_float64:
        raise UnsupportedError(f"numpy.heaviside of {f.name} is not supported; use numpy.where")
    values = [in_format(v, f, "heaviside") for v in (x, at_zero)]
    check_broadcast("heaviside", values)
    return array(np.heaviside(*values), f)


def _product(name: str) -> Supported:
    def run(a: Any, b: Any):
        from fpemu import linalg

        f = format_among(name, (a, b))
        x, y = (Array(in_format(v, f, name), f) for v in (a, b))
        if name == "matmul" or (x.ndim <= 2 and y.ndim <= 2 and name != "vecdot"):
            return linalg.matmul(x, y)
        if name == "vecdot" and x.ndim == y.ndim == 1:
            return linalg.dot(x, y)
        raise UnsupportedError(
            f"numpy.{name} of shapes {x.shape} and {y.shape} is not supported on an fpemu Array; "
            "use fp.matmul, with axes of length 1 where needed"
        )

    return Supported("rounded", "fp.matmul: every product and partial sum, in order", run)


UFUNCS: dict[np.ufunc, Supported] = {
    np.add: _operation("add"),
    np.subtract: _operation("subtract"),
    np.multiply: _operation("multiply"),
    np.divide: _operation("divide"),
    np.floor_divide: _operation("floor_divide", "floor of the exact quotient, rounded"),
    np.remainder: _operation("modulo", "exact remainder with the divisor's sign, rounded"),
    np.divmod: Supported(
        "rounded",
        "floor_divide and remainder",
        lambda x, y: (compute("floor_divide", x, y), compute("modulo", x, y)),
    ),
    np.fmod: _operation("fmod"),
    np.sqrt: _operation("sqrt"),
    np.square: Supported("rounded", "x * x", lambda x: compute("multiply", x, x)),
    np.reciprocal: Supported("rounded", "1 / x", lambda x: compute("divide", 1.0, x)),
    np.minimum: _operation("minimum"),
    np.maximum: _operation("maximum"),
    np.fmin: _operation("minimum_number"),
    np.fmax: _operation("maximum_number"),
    **{
        u: _operation(u.__name__)
        for u in (
            *(np.exp, np.exp2, np.expm1, np.log, np.log2, np.log1p, np.tanh, np.sin, np.cos),
            *(np.power, np.hypot),
        )
    },
    np.rint: _whole("nearest_even"),
    np.floor: _whole("toward_negative"),
    np.ceil: _whole("toward_positive"),
    np.trunc: _whole("toward_zero"),
    np.ldexp: Supported("rounded", "x * 2**n", _ldexp),
    np.negative: Supported("exact", "the sign changed", lambda x: -x),
    np.positive: Supported("exact", "x itself", lambda x: +x),
    np.conjugate: Supported("exact", "x itself", lambda x: +x),
    np.absolute: Supported("exact", "the sign dropped", abs),
    np.fabs: Supported("exact", "the sign dropped", abs),
    np.sign: _exactly(np.sign),
    np.copysign: _exactly(np.copysign),
    np.frexp: _exactly(np.frexp, "significand and an integer exponent"),
    np.modf: _exactly(np.modf, "fraction and integer"),
    np.heaviside: Supported("exact", "no rounding", _heaviside),
    np.nextafter: Supported("exact", "fp.nextafter", _next),
    np.spacing: Supported("exact", "fp.ulp with the sign of x", _spacing),
    **{
        u: _plain(u)
        for u in (
            *(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal),
            *(np.isfinite, np.isinf, np.isnan, np.signbit),
        )
    },
    **{u: _logical(u) for u in (np.logical_and, np.logical_or, np.logical_xor, np.logical_not)},
    np.matmul: _product("matmul"),
    np.vecdot: _product("vecdot"),
    **{
        getattr(np, name): _product(name) for name in ("matvec", "vecmat") if hasattr(np, name)
    },  # since NumPy 2.2
}
_HINTS = {
    "float_power": "use numpy.power, which stays in the format",
    "invert": "bits are in x.codes",
    "bitwise_count": "bits are in x.codes",
}


def apply(ufunc: np.ufunc, method: str, inputs: tuple, options: dict[str, Any]):
    """What ``__array_ufunc__`` returns; `UnsupportedError` for what is not in the table."""
    name = ufunc.__name__
    entry = UFUNCS.get(ufunc)
    if entry is None:
        hint = _HINTS.get(name, "leave the format with numpy.asarray(x)")
        raise UnsupportedError(
            f"numpy.{name} is not supported on an fpemu Array; allowed: "
            f"{', '.join(sorted(u.__name__ for u in UFUNCS))}; {hint}"
        )
    _check_options(name, method, options)
    if any(isinstance(v, np.ma.MaskedArray) for v in inputs):
        raise UnsupportedError(
            f"numpy.{name} of an fpemu Array and a masked array is not supported; fill it first"
        )
    if method == "__call__":
        if options.get("where", True) is not True:
            raise UnsupportedError(
                f"numpy.{name} with where= is not supported on an fpemu Array, because the elements "
                f"left out would have no value; use numpy.where(mask, numpy.{name}(...), otherwise)"
            )
        return entry.run(*inputs)
    if method == "outer":
        a, b = (folds.as_array_of(v, format_among(name, inputs), name) for v in inputs)
        return entry.run(a.reshape(a.shape + (1,) * b.ndim), b)
    if method in ("reduce", "accumulate") and ufunc.nin == 2 and ufunc.nout == 1:
        (x,) = inputs
        return getattr(folds, method)(name, entry.run, x, options)
    raise UnsupportedError(
        f"numpy.{name}.{method} is not supported on an fpemu Array"
        + (", which is immutable" if method == "at" else "")
        + "; allowed: plain calls, reduce, accumulate and outer"
    )


def _check_options(name: str, method: str, options: dict[str, Any]) -> None:
    """Refuse what would write elsewhere or compute in another type."""
    if any(v is not None for v in np.atleast_1d(np.array(options.get("out"), object))):
        raise UnsupportedError(
            f"numpy.{name} with out= is not supported: an fpemu Array is immutable, and results must "
            "not leave their format; use the result"
        )
    fine = {"where", "axis", "keepdims", "initial", "out"}
    given = sorted(k for k, v in options.items() if k not in fine and v is not None)
    if given:
        raise UnsupportedError(
            f"numpy.{name}.{method} with {', '.join(given)} is not supported on an fpemu Array; the "
            "result has the format of the operands: cast with .astype(format)"
        )
    if method == "__call__" and options.get("axis") is not None:
        raise UnsupportedError(f"numpy.{name} with axis= is not supported on an fpemu Array")
