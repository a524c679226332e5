"""Between numbers, values of a format, and codes: `quantize`, `encode`, `decode`.

Input is rounded once, directly from what it is: float16, float32, float64, an integer of any
size, a Fraction or Decimal, an ml_dtypes value. It never passes through a narrower type.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from fpemu import events, exact
from fpemu import rounding as vocabulary
from fpemu.carriers import (
    carrier_dtype,
    code_dtype,
    has_step32,
    has_step64,
    overflow_edge,
    target_of,
)
from fpemu.errors import ArgumentError, UnsupportedError, unknown
from fpemu.formats import FP64, Format, as_format, format_of_dtype


@dataclass(frozen=True)
class _Chance:
    """Where stochastic rounding takes its random bits from, and how many."""

    seed: int = 0
    random_bits: int = 24
    variant: str = "A"

    @classmethod
    def checked(cls, seed: object, random_bits: object, variant: object) -> _Chance:
        """The same, or `ArgumentError`."""
        for name, value, low, high in (
            ("seed", seed, 0, 2**64 - 1),
            ("random_bits", random_bits, 1, 64),
        ):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or not low <= value <= high:  # type: ignore[operator]
                raise ArgumentError(
                    f"{name} must be an integer from {low} to {high}, got {value!r}"
                )
        if variant not in ("A", "B", "C"):
            raise unknown("random_variant", variant, "ABC")
        return cls(int(seed), int(random_bits), str(variant))  # type: ignore[call-overload]

    @property
    def words(self) -> tuple[np.uint32, np.uint32]:
        """The seed in two words, as the generator's counter takes it."""
        return np.uint32(self.seed % 2**32), np.uint32(self.seed >> 32)

    @property
    def choice(self) -> tuple[int, int]:
        """Random bits and the kernels' number of the variant."""
        return self.random_bits, "ABC".index(self.variant)

    def away(self, index: int):
        """The decision for element `index`, for the exact reference."""
        random = exact.random_integer(index, self.seed, self.random_bits)
        return lambda rest: exact.rounds_away_by_chance(
            rest, random, self.random_bits, self.variant
        )


def quantize(
    x: object,
    f: object,
    *,
    rounding: str = "nearest_even",
    saturation: str = "none",
    subnormals: str = "gradual",
    seed: int = 0,
    random_bits: int = 24,
    random_variant: str = "A",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Round every element of `x` once to a value of the format `f`.

    Parameters
    ----------
    x : array_like of any shape: floats (any NumPy or ml_dtypes kind), integers, booleans,
        Fractions, Decimals or an `Array`.
    f : a `Format`, its name, or a dtype.
    rounding, saturation, subnormals : see `fpemu.rounding`. "daz" reads subnormals of `x`'s own format
        (its dtype's; float64 for Python numbers) as zero; "ftz" makes subnormal results zero.
    seed, random_bits, random_variant : for "stochastic". Element i (in C order) takes `random_bits`
        bits, 1 to 64, of a Philox generator fixed by `seed` (0 to 2**64 - 1) and i: the same call
        gives the same bits, on any machine. The value beyond is taken with the probability of the
        whole residual, cut to that many bits by variant "A", or rounded by "B" or "C" (IEEE P3109).
    out : where to put the result; C-contiguous, shape of `x`, dtype of the carrier.

    Returns
    -------
    ndarray of `x`'s shape, float32 or float64 (`carrier_dtype`), holding the values exactly.
    NaN gives NaN (positive, quiet); in a format without NaN it is an error, except that
    saturation "finite" stores the largest value. Infinities and overflow follow `saturation`.
    -0 stays -0 where the format has it, and tiny negative values become -0; else +0.

    Raises
    ------
    ArgumentError : unknown format or setting, NaN for a format without NaN, unfit `out`.
    UnsupportedError : `x` is complex, text or another kind that has no single real value.

    Source: IEEE 754-2019 sections 4.3 and 7; OFP8 1.0 table 3 for saturation.

    >>> quantize([0.1, 464, 465], "e4m3").tolist()
    [0.1015625, 448.0, nan]
    >>> quantize([0.1, 464, 465], "e4m3", saturation="finite").tolist()
    [0.1015625, 448.0, 448.0]
    """
    f = as_format(f)
    vocabulary.check(rounding=rounding, saturation=saturation, subnormals=subnormals)
    chance = _Chance.checked(seed, random_bits, random_variant)
    values, source = numbers_of(x)
    result = _prepare_out(out, values.shape, f)
    if values.dtype == object:
        _quantize_exact(values, f, rounding, saturation, subnormals, chance, result)
        return result
    if "daz" in subnormals:
        values = _without_subnormals(values, source)
    return round_to(
        values, f, saturation, rounding=rounding, subnormals=subnormals, chance=chance, out=result
    )


def round_to(
    values: np.ndarray,
    f: Format,
    saturation: str = "none",
    *,
    rounding: str = "nearest_even",
    subnormals: str = "gradual",
    chance: _Chance | None = None,
    place: str = "",
    op: str = "quantize",
    count: bool = True,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Float32 or float64 `values` rounded once to `f`, in the fitting kernel.

    What happened is counted at `place` if a trace is open, unless `count` is false.
    """
    from fpemu.kernels import quantize as kernels

    if out is None:
        out = np.empty(values.shape, carrier_dtype(f))
    if not has_step64(f):
        _quantize_exact(values, f, rounding, saturation, subnormals, chance, out)
    else:
        if not f.has_nan:
            values = _without_nan(values, f, saturation)
        mode = _mode(f, rounding, subnormals)
        in32 = values.dtype == np.float32 and has_step32(f)
        chance = chance or _Chance()
        if rounding == "stochastic":
            in32 = in32 and chance.random_bits <= 24 and chance.variant == "A"
        carrier = "float32" if in32 else "float64"
        target = target_of(f, saturation, carrier=carrier, rounding=rounding)
        source = np.ascontiguousarray(_cast(values, carrier)).reshape(-1)
        flat = out.reshape(-1)  # a view: `out` is contiguous
        if rounding != "stochastic" or f == FP64:
            mode = mode if f != FP64 else mode & kernels.FLUSH  # FP64 drops nothing in any mode
            (kernels.quantize32 if in32 else kernels.quantize64)[mode](source, target, flat)
        elif in32:
            kernels.stochastic32[mode](source, target, flat, *chance.words, chance.random_bits)
        else:
            kernels.stochastic64[mode](source, target, flat, *chance.words, *chance.choice)
    if count and events.active():
        record(place, op, values, out, f, saturation, rounding)
    return out


def _mode(f: Format, rounding: str, subnormals: str) -> int:
    """The kernels' number of a rounding mode."""
    from fpemu.kernels import step

    by_code = f.fraction_bits == 0 and rounding == "nearest_even"
    mode = step.NEAREST_EVEN_CODE if by_code else getattr(step, rounding.upper())
    return mode + (step.FLUSH if "ftz" in subnormals else 0)


def record(
    place: str,
    op: str,
    before: np.ndarray,
    after: np.ndarray,
    f: Format,
    saturation: str,
    rounding: str = "nearest_even",
    also_inexact: np.ndarray | None = None,
) -> None:
    """Count in the open traces what rounding `before` to `after`, values of `f`, did."""
    edges = (
        overflow_edge(f, rounding, negative=False),
        overflow_edge(f, rounding, negative=True),
    )
    saturating = saturation != "none"
    events.record_rounding(place, op, before, after, f, edges, saturating, also_inexact)


def encode(x: object, f: object, **settings) -> np.ndarray:
    """The codes of `x` rounded to `f`: bit patterns as right-aligned unsigned integers.

    Takes what `quantize` takes (except `out`) and raises what it raises. Returns uint8, uint16,
    uint32 or uint64, the narrowest that holds ``f.bits`` bits, in `x`'s shape. NaN becomes the
    one positive quiet NaN code, ``f.nan_code``.

    >>> [hex(c) for c in encode([1.0, -0.0, 465], "e4m3")]
    ['0x38', '0x80', '0x7f']
    """
    from fpemu.kernels import codec

    f = as_format(f)
    values = np.asarray(quantize(x, f, **settings), np.float64, order="C")
    codes = np.empty(values.shape, np.int64)
    none = -1
    codec.encode(
        values.reshape(-1),
        f.exponent_bits,
        f.fraction_bits,
        f._bias,
        none if f.inf_code is None else f.inf_code,
        none if f.nan_code is None else f.nan_code,
        f.has_negative_zero,
        codes.reshape(-1),
    )
    return codes.view(np.uint64).astype(code_dtype(f))


def decode(codes: object, f: object) -> np.ndarray:
    """The values of `codes`: the inverse of `encode`.

    `codes` is an array_like of integers from 0 to ``2**f.bits - 1``, else `ArgumentError`.
    Returns the carrier dtype in the same shape. Every NaN code gives the positive quiet NaN.

    >>> decode([0x7E, 0x7F, 0x01], "e4m3").tolist()
    [448.0, nan, 0.001953125]
    """
    from fpemu.kernels import codec

    f = as_format(f)
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu" and codes.size:
        raise ArgumentError(f"codes must be integers, got dtype {codes.dtype}")
    top = (1 << f.bits) - 1
    if codes.size and not (int(codes.min()) >= 0 and int(codes.max()) <= top):
        bad = codes[(codes < 0) | (codes > top)].flat[0]
        raise ArgumentError(f"code {bad} does not fit {f.name}: allowed 0 to {top}")
    flat = np.ascontiguousarray(codes).astype(np.uint64).view(np.int64).reshape(-1)
    values = np.empty(flat.shape, np.float64)
    inf_code = -1 if f.inf_code is None else f.inf_code
    shape = (f.exponent_bits, f.fraction_bits, f._bias, f.smallest_subnormal)
    codec.decode(flat, *shape, f.max_code, inf_code, f.has_negative_zero, values)
    return values.astype(carrier_dtype(f)).reshape(codes.shape)


def numbers_of(x: object) -> tuple[np.ndarray, Format]:
    """`x` as a float32, float64 or object array that loses nothing, and the format it came in.

    Integers too large for float64, Fractions, Decimals and long doubles come back as an object
    array of ints, floats and Fractions, which only the exact path takes.
    """
    own = getattr(x, "format", None)
    try:
        values = np.asarray(x)
    except ValueError as error:  # rows of different lengths
        raise ArgumentError(f"cannot make an array of {x!r}: {error}") from None
    f = format_of_dtype(values.dtype)
    if f is not None:
        native = np.float64 if f == FP64 else np.float32
        return _cast(values, native), own if isinstance(own, Format) else f
    if values.dtype.kind in "bui":
        as_float = values.astype(np.float64)
        if values.dtype.itemsize < 8 or not np.any(np.abs(as_float) > 2.0**53):
            return as_float, FP64
        return np.array([int(v) for v in values.flat], object).reshape(values.shape), FP64
    if values.dtype.kind == "f":  # long double
        ratios = [_exact_number(v) for v in values.flat]
        return np.array([*ratios, None], object)[:-1].reshape(values.shape), FP64
    if values.dtype == object:
        numbers = [_exact_number(v) for v in values.flat]
        return np.array([*numbers, None], object)[:-1].reshape(values.shape), FP64
    raise UnsupportedError(
        f"cannot round values of dtype {values.dtype}; allowed: floats, integers, booleans, "
        "Fractions and Decimals (take real and imaginary parts of complex values yourself)"
    )


def _cast(values: np.ndarray, dtype: object) -> np.ndarray:
    """A conversion that loses nothing; NumPy would warn about signalling NaNs."""
    with np.errstate(invalid="ignore"):
        return values.astype(dtype, copy=False)  # type: ignore[call-overload]


def _exact_number(v: object) -> exact.Number:
    if isinstance(v, (float, np.float16, np.float32)):
        return float(v)
    if isinstance(v, (bool, int, np.integer)):
        return int(v)
    if isinstance(v, Fraction):
        return v
    if isinstance(v, (Decimal, np.longdouble)):
        special = not (v.is_finite() if isinstance(v, Decimal) else np.isfinite(v))
        if special or v == 0:
            return float(v)
        return Fraction(*v.as_integer_ratio())
    raise UnsupportedError(f"cannot round {v!r}; allowed: floats, integers, Fractions and Decimals")


def _prepare_out(out: np.ndarray | None, shape: tuple[int, ...], f: Format) -> np.ndarray:
    dtype = carrier_dtype(f)
    if out is None:
        return np.empty(shape, dtype)
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype == dtype
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        got = f"{type(out).__name__} {getattr(out, 'dtype', '')} {getattr(out, 'shape', '')}"
        raise ArgumentError(
            f"out must be a writeable C-contiguous {dtype} array of shape {shape}, got {got}"
        )
    return out


def _without_subnormals(values: np.ndarray, f: Format) -> np.ndarray:
    zero = np.copysign(values.dtype.type(0), values) if f.has_negative_zero else 0
    return np.where(np.abs(values) < f.smallest_normal, zero, values)


def _without_nan(values: np.ndarray, f: Format, saturation: str) -> np.ndarray:
    bad = np.isnan(values)
    return np.where(bad, exact.nan_of(f, saturation), values) if bad.any() else values


def _quantize_exact(values, f, rounding, saturation, subnormals, chance, out) -> None:
    """By the reference, element by element: for numbers and formats that no kernel takes."""
    settings = {"rounding": rounding, "saturation": saturation, "subnormals": subnormals}
    chance = chance or _Chance()
    flat = out.reshape(-1)
    for i, v in enumerate(values.flat):
        number = v if isinstance(v, (int, Fraction)) else float(v)
        away = chance.away(i) if rounding == "stochastic" else None
        flat[i] = exact.round_to(number, f, **settings, away=away)
