"""The values of a format: neighbours, spacing, class, all of them, and their shortest decimals.

Arguments that are values must be values *of the format*: nothing here rounds silently.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fpemu import exact
from fpemu.carriers import carrier_dtype
from fpemu.convert import codes_of, decode, round_to
from fpemu.errors import ArgumentError
from fpemu.formats import Format, as_format
from fpemu.inputs import as_objects, numbers_of
from fpemu.reals import Real, is_finite, is_negative, scaled, size_of, written

CLASSES = (
    *("-Infinity", "-Normal", "-Subnormal", "-Zero"),
    *("+Zero", "+Subnormal", "+Normal", "+Infinity", "NaN"),
)


def next_up(x: object, f: object) -> np.ndarray:
    """The smallest value of `f` that is larger than `x`, element by element.

    `x` is array_like of values of `f`. NaN gives NaN; infinity stays; both zeros give the
    smallest subnormal; minus the smallest subnormal gives -0 where the format has it. Above the
    largest value stands infinity, in a format without it NaN, without NaN the value itself; so it
    is below the smallest of a format without a sign.
    Raises `ArgumentError` for an `x` that is not a value of `f`.
    Source: nextUp of IEEE 754-2019 section 5.3.1, extended to formats without infinity.

    >>> next_up([1.0, 448.0, 0.0], "e4m3").tolist()
    [1.125, nan, 0.001953125]
    """
    f = as_format(f)
    return _moved(_checked(x, f), f, 1)


def next_down(x: object, f: object) -> np.ndarray:
    """The largest value of `f` that is smaller than `x`: ``-next_up(-x)``.

    >>> next_down([1.0, -65504.0], "fp16").tolist()
    [0.99951171875, -inf]
    """
    f = as_format(f)
    return _moved(_checked(x, f), f, -1)


def nextafter(x: object, toward: object, f: object) -> np.ndarray:
    """The neighbour of `x` in the direction of `toward`; `x` itself where they are equal.

    `x` and `toward` are array_like and broadcast; `toward` may be any number. NaN in either gives
    NaN. `numpy.nextafter` for any format.

    >>> nextafter([1.0, 1.0, 1.0], [9, 1, -9], "bf16").tolist()
    [1.0078125, 1.0, 0.99609375]
    """
    f = as_format(f)
    target, _ = numbers_of(toward)
    target = as_objects(target) if target.dtype.kind in "iu" else target
    values = _checked(x, f)
    try:
        values, target = np.broadcast_arrays(values, target)
    except ValueError:
        raise ArgumentError(
            f"nextafter of shapes {values.shape} and {target.shape}: they do not broadcast"
        ) from None
    up, down = _moved(values, f, 1), _moved(values, f, -1)
    with np.errstate(invalid="ignore"):
        result = np.where(target > values, up, np.where(target < values, down, values))
    return np.where(target != target, np.nan, result).astype(carrier_dtype(f))


def ulp(x: object, f: object) -> np.ndarray:
    """The distance between consecutive values of `f` in the binade of `x`, as `math.ulp`.

    `x` is array_like of values of `f`. At zero and among subnormals it is the smallest subnormal;
    at infinity it is infinity, at NaN NaN. float64, because it need not be a value of `f`.

    >>> ulp([1.0, 2048.0, 0.0], "fp16").tolist()
    [0.0009765625, 2.0, 5.960464477539063e-08]
    """
    f = as_format(f)
    values = _checked(x, f)
    if values.dtype == object:
        listed = [_ulp_of(v, f) for v in values.flat]
        return np.array([*listed, None], object)[:-1].reshape(values.shape)
    values = values.astype(np.float64)
    magnitude = np.abs(values)
    finite = np.where(np.isfinite(magnitude), magnitude, 1.0)
    exponent = np.maximum(np.frexp(finite)[1] - 1, f.emin)
    exponent = np.where(finite == 0, f.emin, exponent)
    spacing = np.ldexp(1.0, exponent - f.fraction_bits)
    return np.where(np.isfinite(values), spacing, magnitude)


def _ulp_of(x: Real, f: Format) -> Real:
    if not is_finite(x):
        return size_of(x)
    e = exact.floor_log2(abs(Fraction(x))) if x else f.emin
    return scaled(1, max(e, f.emin) - f.fraction_bits)


def classify(x: object, f: object) -> np.ndarray:
    """The class of each element of `x`: one of `CLASSES`, in the words of `decimal`'s number_class.

    >>> classify([1.0, -2.0**-24, -0.0, np.inf, np.nan], "fp16").tolist()
    ['+Normal', '-Subnormal', '-Zero', '+Infinity', 'NaN']
    """
    f = as_format(f)
    values = _checked(x, f)
    magnitude = np.abs(values)
    with np.errstate(invalid="ignore"):  # NumPy's complaint about objects that are NaN
        below_normal = magnitude < f.smallest_normal
    kind = np.where(below_normal, 2, 1)  # steps from infinity towards zero
    kind = np.where(magnitude == np.inf, 0, np.where(magnitude == 0, 3, kind))
    index = np.where(_signbit(values), kind, 7 - kind)
    return np.array(CLASSES)[np.where(values != values, 8, index)]


def _signbit(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return np.signbit(values)
    return np.array([is_negative(v) for v in values.flat], bool).reshape(values.shape)


def values(f: object) -> np.ndarray:
    """All finite values of `f` in ascending order, the two zeros as one; up to 19-bit formats.

    >>> values("e2m1").tolist()
    [-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    """
    f = as_format(f)
    if f.bits > 19:
        raise ArgumentError(
            f"{f.name} has 2**{f.bits} codes, too many to list; allowed: formats of up to 19 bits"
        )
    positive = decode(np.arange(f.max_code + 1), f)
    return np.concatenate([-positive[:0:-1], positive]) if f.signed else positive


def shortest(x: float, f: object) -> str:
    """The shortest decimal that rounds to `x` in `f`, as Python prints floats; the nearest if tied.

    `x` is one value of `f`. What ``repr`` is for float64, for any format: reading the result and
    rounding it to nearest even gives `x` back.

    >>> shortest(0.0999755859375, "fp16"), shortest(2.0**-24, "fp16"), shortest(448, "e4m3")
    ('0.1', '6e-08', '450.0')
    """
    f = as_format(f)
    return exact.shortest(_checked(x, f).item(), f)


def _checked(x: object, f: Format) -> np.ndarray:
    """`x` in the carrier of `f`; refused unless every element is a value of `f` already."""
    given, _ = numbers_of(x)
    if given.dtype.kind in "iu":
        given = as_objects(given)
    rounded = round_to(given, f, "none" if f.has_nan else "finite", count=False)
    same = (rounded == given) | ((rounded != rounded) & (given != given))
    if not np.all(same):
        bad = given[~np.asarray(same, bool)].flat[0] if given.ndim else given[()]
        raise ArgumentError(
            f"{written(bad if isinstance(bad, (int, Fraction)) else float(bad))} is not a value of "
            f"{f.name}; round it first with quantize"
        )
    return rounded


def _moved(x: np.ndarray, f: Format, step: int) -> np.ndarray:
    """`x` moved by `step` in the order of the values."""
    minus_sign = _signbit(x)
    magnitude = codes_of(np.abs(x), f).astype(np.int64)
    negative = minus_sign & ((magnitude != 0) | (step > 0) & f.has_negative_zero)
    order = np.where(minus_sign, -magnitude, magnitude)
    top = f.max_code + (1 if f.has_inf or f.has_nan else 0)
    low = -top if f.signed else 0
    new = np.minimum(order, top - 1) + 1 if step > 0 else np.maximum(order, low + 1) - 1
    moved = np.asarray(decode(np.abs(new), f))
    # Beyond the largest value of a format without infinity stands no code but NaN, and so it is
    # below the smallest of a format without a sign.
    moved = np.where((np.abs(new) > f.max_code) & (not f.has_inf), np.nan, moved)
    if f.has_nan and not f.signed:
        moved = np.where((order == 0) & (step < 0), np.nan, moved)
    minus = (new < 0) | ((new == 0) & negative & f.has_negative_zero)
    moved = np.where(minus & (moved == moved), -moved, moved)
    return np.where(x != x, np.nan, moved).astype(carrier_dtype(f))
