"""`Array`: values of one format, held exactly; one rounding per operation.

An Array is immutable. Python numbers that meet it are first rounded to its format. Arrays of
different formats do not mix; cast one. NumPy functions that fpemu cannot do right are refused,
so that no value leaves the format unseen; `numpy.asarray(x)` is the way out.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np

from fpemu import context, elementwise
from fpemu.carriers import carrier_dtype
from fpemu.convert import codes_of, quantize, round_to
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import FP64, Format, as_format, format_of_dtype
from fpemu.inputs import cast
from fpemu.interchange import to_dtype
from fpemu.reals import is_finite, is_infinite, is_nan, is_negative, written

_UFUNCS = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.divide: "divide",
    np.sqrt: "sqrt",
    np.remainder: "modulo",
    np.fmod: "fmod",
    np.minimum: "minimum",
    np.maximum: "maximum",
    np.fmin: "minimum_number",
    np.fmax: "maximum_number",
    np.exp: "exp",
    np.exp2: "exp2",
    np.expm1: "expm1",
    np.log: "log",
    np.log2: "log2",
    np.log1p: "log1p",
    np.tanh: "tanh",
    np.sin: "sin",
    np.cos: "cos",
    np.power: "power",
    np.hypot: "hypot",
}
# Rounding to integers, each in a mode of its own.
_TO_INTEGER = {
    np.rint: "nearest_even",
    np.floor: "toward_negative",
    np.ceil: "toward_positive",
    np.trunc: "toward_zero",
}
_COMPARISONS = (
    *(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal),
    *(np.isfinite, np.isinf, np.isnan, np.signbit),
)
# The same for values beyond float64, which NumPy does not ask such questions.
_KINDS = {
    np.isfinite: is_finite,
    np.isinf: is_infinite,
    np.isnan: is_nan,
    np.signbit: is_negative,
}


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """Values of one format. Made by `array` and `asarray`; `format` says which.

    Every operation is rounded once, under the settings of the `arithmetic` in force: ``+ - * / %``
    and the NumPy functions sqrt, fmod, remainder, rint, floor, ceil, trunc, minimum, maximum, fmin,
    fmax, exp, exp2, expm1, log, log2, log1p, tanh, sin, cos, power and hypot (and `rsqrt`,
    `sigmoid`, `erf`, `fma`, `remainder` and `round_to_integer` of fpemu's own). ``@`` and `sum` round every product and partial sum. minimum and maximum are
    IEEE's (NaN wins, -0 < +0), fmin and fmax its minimumNumber and maximumNumber (NaN loses).
    Comparisons give boolean ndarrays and are exact; a Python number is first rounded to the
    format there, too.

    >>> x = array([1.0, 0.1], "fp16")
    >>> x
    fp.array([1.0, 0.0999755859375], fp.FP16)
    >>> x + 0.0001
    fp.array([1.0, 0.10009765625], fp.FP16)
    """

    __slots__ = ("_values", "format")
    _values: np.ndarray
    format: Format
    __array_priority__ = 1000

    def __init__(self, values: np.ndarray, f: Format) -> None:
        """For internal use: `values` must be values of `f` in its carrier dtype."""
        view = np.asarray(values, carrier_dtype(f)).view()  # NumPy turns 0-d results into scalars
        view.flags.writeable = False
        object.__setattr__(self, "_values", view)
        object.__setattr__(self, "format", f)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an fpemu Array is immutable: cannot set {name!r}; make a new one")

    # -- looking at it --------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as NumPy's."""
        return self._values.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._values.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._values.size

    @property
    def codes(self) -> np.ndarray:
        """The bit patterns as right-aligned unsigned integers, in the array's shape."""
        return codes_of(self._values, self.format)

    def to_numpy(self) -> np.ndarray:
        """A copy of the values as float32 (float64 where float32 would not hold them, and Fractions
        where float64 would not)."""
        return self._values.copy()

    def to_ml_dtypes(self) -> np.ndarray:
        """The values in the NumPy or ml_dtypes dtype of the format (NaN as the one positive quiet
        NaN), without rounding; `UnsupportedError` if there is none.

        >>> array([0.1, 1.0], "e4m3").to_ml_dtypes()
        array([0.101562, 1], dtype='float8_e4m3fn')
        """
        return to_dtype(self._values, self.format)

    def tolist(self) -> object:
        """The values as nested lists of Python floats, exactly (Fractions beyond float64)."""
        return self._values.tolist()

    def item(self) -> Any:
        """The one value of an array with one element, as a Python float (or Fraction)."""
        return self._values.item()

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        if dtype is None or np.dtype(dtype) == self._values.dtype:  # type: ignore[call-overload]
            return self._values.copy() if copy else self._values
        if copy is False:
            raise ValueError(f"a {self.format.name} Array cannot become {dtype} without a copy")
        return self._values.astype(dtype)  # type: ignore[call-overload]

    def __float__(self) -> float:
        return float(self._values.item())

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Array]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d Array")
        return (Array(v, self.format) for v in self._values)

    def __repr__(self) -> str:
        if self.size > 1000:
            body = f"<{'x'.join(map(str, self.shape))} values>"
        else:
            body = str(self.tolist() if self.format.fits_float64 else _written(self.tolist()))
        return f"fp.array({body}, {self.format!r})"

    def __bool__(self) -> bool:
        return bool(self._values)

    # -- the same values, arranged otherwise ----------------------------------------------

    @property
    def T(self) -> Array:
        """Transposed."""
        return Array(self._values.T, self.format)

    def reshape(self, *shape: Any) -> Array:
        """The same values in another shape, as `numpy.reshape`."""
        try:
            return Array(self._values.reshape(*shape), self.format)
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"cannot reshape {self.shape} to {shape}: {error}") from None

    def __getitem__(self, index: Any) -> Array:
        return Array(np.asarray(self._values[index]), self.format)

    # -- arithmetic -----------------------------------------------------------------------

    def astype(self, f: object, **settings) -> Array:
        """The values rounded once to the format `f`; settings as `quantize`."""
        return array(self, f, **settings)

    def sum(self, axis: int | None = None, **options) -> Array:
        """`fp.sum` of this array."""
        from fpemu import linalg

        return linalg.sum(self, axis, **options)

    def __neg__(self) -> Array:
        """The sign changed and nothing else (IEEE 754 section 5.5.1); 0 has none in some formats, and
        formats without a sign take negative numbers by the saturation in force."""
        saturation = "none" if self.format.signed else context.current().saturation
        return Array(round_to(-self._values, self.format, saturation, count=False), self.format)

    def __abs__(self) -> Array:
        return Array(np.abs(self._values), self.format)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object):
        if not all(isinstance(v, (Array, np.ndarray, numbers.Real, list)) for v in inputs):
            return NotImplemented
        if method != "__call__" or any(v is not None for v in options.values()):
            raise UnsupportedError(
                f"numpy.{ufunc.__name__}.{method} with options {sorted(options)} is not supported "
                "on an fpemu Array; allowed: plain calls"
            )
        if ufunc is np.matmul:
            from fpemu import linalg

            return linalg.matmul(*inputs)
        if ufunc is np.negative or ufunc is np.absolute:
            (x,) = inputs
            return -x if ufunc is np.negative else abs(x)  # type: ignore[operator, arg-type]
        known = (*_UFUNCS, *_TO_INTEGER, *_COMPARISONS)
        if ufunc not in known:
            raise UnsupportedError(
                f"numpy.{ufunc.__name__} is not supported on an fpemu Array; allowed: "
                + ", ".join(sorted(u.__name__ for u in (*known, np.matmul)))
                + ", negative, absolute; or leave the format with numpy.asarray(x)"
            )
        if ufunc in _COMPARISONS:
            operands = [_in_format(v, self.format, ufunc.__name__) for v in inputs]
            _check_broadcast(ufunc.__name__, operands)
            if not self.format.fits_float64 and ufunc in _KINDS:
                kind = _KINDS[ufunc]
                found = [kind(v) for v in operands[0].flat]
                return np.array(found, bool).reshape(operands[0].shape)
            with np.errstate(invalid="ignore"):  # NumPy's complaint about objects that are NaN
                return ufunc(*operands)
        if ufunc in _TO_INTEGER:
            return round_to_integer(*inputs, rounding=_TO_INTEGER[ufunc])  # type: ignore[arg-type]
        return compute(_UFUNCS[ufunc], *inputs)

    def __array_function__(self, function, types, args, kwargs):
        raise UnsupportedError(
            f"numpy.{function.__name__} is not supported on an fpemu Array: it would compute "
            "outside the format; use fp.sum, fp.dot or fp.matmul, or leave with numpy.asarray(x)"
        )


def _keeps_values() -> bool:
    """Whether the arithmetic in force leaves the values of a format alone."""
    now = context.current()
    return now.subnormals == "gradual" and now.saturation != "finite"


class _Written(str):
    """Text that lists show without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _written(values: object) -> object:
    return [_written(v) for v in values] if isinstance(values, list) else _Written(written(values))  # type: ignore[arg-type]


def array(x: object, f: object, **settings) -> Array:
    """An `Array` of `x` rounded once to the format `f`; settings and errors as `quantize`.

    >>> array([0.1, 70000], "fp16").tolist()
    [0.0999755859375, inf]
    """
    f = as_format(f)
    if isinstance(x, Array) and x.format == f and not settings and _keeps_values():
        return x
    return Array(quantize(x, f, **settings), f)


def compute(op: str, *operands: object, **options) -> Array:
    """`op` on Arrays of one format (numbers and lists are first rounded to it), rounded once.

    `op` is one of `elementwise.ARITHMETIC` or `elementwise.TRANSCENDENTAL`; `options` are those of
    `quantize`, by default the `arithmetic` in force.
    """
    elementwise.check_op(op, len(operands))
    f, settings, values = _prepared(op, operands, options)
    chance = settings.chance if options.get("seed") is not None else settings.next_chance()
    rounded = elementwise.apply(
        op,
        *values,
        f=f,
        rounding=settings.rounding,
        saturation=settings.saturation,
        subnormals=settings.subnormals,
        chance=chance,
    )
    return Array(rounded, f)


def flags_of(op: str, *operands: object, tininess: str | None = None, **options) -> np.ndarray:
    """The IEEE exceptions that `op` signals for each element.

    Parameters
    ----------
    op : "add", "subtract", "multiply", "divide", "sqrt", "fma", "remainder", "round_to_integer",
        "exp", ...
    operands : Arrays of one format, or numbers and lists, which are first rounded to it.
    tininess : "after" rounding with an unbounded exponent (x86, RISC-V), the default, or "before"
        (Arm): when a result below the smallest normal counts as tiny. Underflow is signalled for
        tiny results that are inexact.
    options : `rounding`, `saturation`, `subnormals`, `seed`, ... as `quantize`.

    Returns uint8 of the broadcast shape, bits as in `Flag`. Overflow that saturates is still
    overflow. Round to integer signals inexact where it changes something. NaN operands signal
    nothing (all NaNs are quiet), but infinity times zero in fma is invalid even if NaN is added.

    Source: IEEE 754-2019 section 7.

    >>> x = array([1.0, 60000.0, 0.0], "fp16")
    >>> flags_of("divide", x, array([3.0, 0.5, 0.0], "fp16")).tolist()
    [1, 5, 16]
    """
    elementwise.check_op(op, len(operands))
    f, settings, values = _prepared(op, operands, {**options, "tininess": tininess})
    return elementwise.flags_of(
        op,
        *values,
        f=f,
        tininess=settings.tininess,
        rounding=settings.rounding,
        saturation=settings.saturation,
        subnormals=settings.subnormals,
        chance=settings.chance,
    )


def _prepared(op: str, operands, options):
    settings = context.current().with_options(**options)
    arrays = [x for x in operands if isinstance(x, (Array, np.ndarray, np.generic))]
    if not arrays:
        raise ArgumentError(
            f"{op} needs an Array among its operands; make one with fp.array(x, format)"
        )
    f = next((x.format for x in arrays if isinstance(x, Array)), None) or asarray(arrays[0]).format
    values = [_in_format(x, f, op) for x in operands]
    _check_broadcast(op, values)
    return f, settings, values


def fma(a: object, b: object, c: object, **options) -> Array:
    """a * b + c with one rounding, element by element, broadcasting.

    `a`, `b` and `c` are Arrays of one format, or numbers and lists, which are first rounded to it;
    at least one says the format. `options` as `quantize`. NaN where an operand is NaN or infinity
    meets zero or its opposite. Raises `ArgumentError` for mixed formats and shapes that do not
    broadcast. Source: fusedMultiplyAdd of IEEE 754-2019 section 5.4.1.

    >>> x = array(4097.0, "fp32")
    >>> fma(x, x, 2.0**-30), x * x + 2.0**-30  # 4097**2 is a tie in FP32; 2**-30 breaks it
    (fp.array(16785410.0, fp.FP32), fp.array(16785408.0, fp.FP32))
    """
    return compute("fma", a, b, c, **options)


def remainder(x: object, y: object, **options) -> Array:
    """x - n*y with n the integer nearest to x/y, the even one of two: always exact.

    Unlike `numpy.remainder` (and ``%``), whose n is rounded down. A zero has the sign of `x`;
    x = infinity or y = 0 gives NaN. Source: remainder of IEEE 754-2019 section 5.3.1.

    >>> x = array([5.0, 6.0, -1.0], "fp16")
    >>> remainder(x, 4.0), x % 4.0
    (fp.array([1.0, -2.0, -1.0], fp.FP16), fp.array([1.0, 2.0, 3.0], fp.FP16))
    """
    return compute("remainder", x, y, **options)


def round_to_integer(x: object, **options) -> Array:
    """Each element rounded to an integer in the given `rounding`; `numpy.rint` for any mode.

    Zeros keep their sign, and a negative fraction rounds to -0. Infinities and NaN stay. Source:
    roundToIntegralExact of IEEE 754-2019 section 5.3.1.

    >>> x = array([0.5, 1.5, -2.5], "bf16")
    >>> round_to_integer(x), round_to_integer(x, rounding="nearest_away")
    (fp.array([0.0, 2.0, -2.0], fp.BF16), fp.array([1.0, 2.0, -3.0], fp.BF16))
    """
    return compute("round_to_integer", x, **options)


def rsqrt(x: object, **options) -> Array:
    """1 / sqrt(x), rounded once; infinity of its sign for a zero, NaN for negative numbers.

    Source: rSqrt of IEEE 754-2019 section 9.2.

    >>> rsqrt(array([4.0, 2.0], "bf16"))
    fp.array([0.5, 0.70703125], fp.BF16)
    """
    return compute("rsqrt", x, **options)


def sigmoid(x: object, **options) -> Array:
    """1 / (1 + exp(-x)), rounded once: from 0 at minus infinity to 1; never a product of roundings.

    >>> sigmoid(array([0.0, -10.0], "fp16"))
    fp.array([0.5, 4.5418739318847656e-05], fp.FP16)
    """
    return compute("sigmoid", x, **options)


def erf(x: object, **options) -> Array:
    """The error function, rounded once: -1 and 1 at the infinities, odd, so that -0 stays -0.

    >>> erf(array([0.5, 3.0], "bf16"))
    fp.array([0.51953125, 1.0], fp.BF16)
    """
    return compute("erf", x, **options)


def _in_format(v: object, f: Format, op: str) -> np.ndarray:
    """An operand's values in the format `f`; numbers and lists are rounded to it."""
    if isinstance(v, (Array, np.ndarray, np.generic)):
        v = asarray(v)
        if v.format != f:
            raise ArgumentError(
                f"{op} of {f.name} and {v.format.name}: arrays of different formats do not mix; "
                f"cast one, for example .astype({f.name!r})"
            )
        return v._values
    return quantize(v, f)


def _check_broadcast(op: str, operands: list[np.ndarray]) -> None:
    try:
        np.broadcast_shapes(*(v.shape for v in operands))
    except ValueError:
        shapes = " and ".join(str(v.shape) for v in operands)
        raise ArgumentError(f"{op} of shapes {shapes}: they do not broadcast") from None


def asarray(x: object) -> Array:
    """`x` as an Array without rounding: an Array, or a NumPy or ml_dtypes array of floats.

    The dtype names the format; lists of numbers count as float64.
    Raises `ArgumentError` for integers and other dtypes that are not a format.

    >>> asarray(np.float16([0.1])).format
    fp.FP16
    """
    if isinstance(x, Array):
        return x
    values = np.asarray(x)
    if not isinstance(x, (np.ndarray, np.generic)) and values.dtype.kind in "biu":
        return array(x, FP64)
    f = format_of_dtype(values.dtype)
    if f is None:
        raise ArgumentError(
            f"an array of dtype {values.dtype} has no format of its own; say which: fp.array(x, format)"
        )
    carried = np.array(cast(values, carrier_dtype(f)))
    nan = np.isnan(carried)
    if nan.any():
        carried[nan] = np.nan  # the one positive quiet NaN
    return Array(carried, f)
