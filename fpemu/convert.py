"""Between numbers, values of a format, and codes: `quantize`, `encode`, `decode`.

Input is rounded once, directly from what it is: float16, float32, float64, an integer of any
size, a Fraction or Decimal, an ml_dtypes value. It never passes through a narrower type.
"""

from __future__ import annotations

import dataclasses
import functools
from fractions import Fraction

import numpy as np

from fpemu import context, exact, flags
from fpemu.carriers import (
    carrier_dtype,
    code_dtype,
    has_step32,
    has_step64,
    normal_edge,
    overflow_edge,
    roomy,
    target_of,
)
from fpemu.chance import Chance
from fpemu.errors import ArgumentError
from fpemu.formats import FP64, Format, as_format
from fpemu.inputs import as_objects, cast, integers_made_odd, numbers_of
from fpemu.reporting import report, watched


def quantize(
    x: object,
    f: object,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    subnormals: str | None = None,
    seed: int | None = None,
    random_bits: int | None = None,
    random_variant: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Round every element of `x` once to a value of the format `f`.

    Parameters
    ----------
    x : array_like of any shape: floats (any NumPy or ml_dtypes kind), integers, booleans,
        Fractions, Decimals or an `Array`. Long doubles and Decimals count as exact numbers.
    f : a `Format`, its name, or a dtype.
    rounding, saturation, subnormals : see `fpemu.rounding`; by default those of the `arithmetic` in
        force, outside of any "nearest_even", "none" and "gradual". "daz" reads subnormals of `x`'s
        own format (its dtype's; float64 for Python floats) as zero; "ftz" makes subnormal results
        zero.
    seed, random_bits, random_variant : for "stochastic". Element i (in C order) takes `random_bits`
        bits, 1 to 64 (default 24), of a Philox generator fixed by `seed` (0 to 2**64 - 1) and i:
        the same call gives the same bits, on any machine. The value beyond is taken with the
        probability of the whole residual, cut to that many bits by variant "A" (the default), or
        rounded by "B" or "C" (IEEE P3109).
    out : where to put the result; C-contiguous, shape of `x`, dtype of the carrier. It may be `x`
        itself or overlap it.

    Returns
    -------
    ndarray of `x`'s shape, float32 or float64, holding the values exactly (`carrier_dtype`; object,
    holding floats and Fractions, for the few formats that reach beyond float64).
    NaN gives NaN (positive, quiet); in a format without NaN it is an error, except that
    saturation "finite" stores the largest value. Infinities and overflow follow `saturation`.
    -0 stays -0 where the format has it, and tiny negative values become -0; else +0. Negative
    values in a format without a sign, and zero in E8M0, become NaN under "none" and the smallest
    number under the other rules (P3109's formats: always the smallest number). E8M0 takes positive
    values below 2**-127 to 2**-127 in every mode; its ties go to the even code (3.0 to 2; ml_dtypes
    rounds them away: ask for "nearest_away").

    Raises
    ------
    ArgumentError : unknown format or setting, NaN for a format without NaN, unfit `out`.
    UnsupportedError : `x` is complex, text or another kind that has no single real value.

    Source: IEEE 754-2019 sections 4.3 and 7; OFP8 1.0 table 3 and P3109 4.0 for saturation.

    >>> quantize([0.1, 464, 465], "e4m3").tolist()
    [0.1015625, 448.0, nan]
    >>> quantize([0.1, 464, 465], "e4m3", saturation="finite").tolist()
    [0.1015625, 448.0, 448.0]
    """
    f = as_format(f)
    settings = context.current().with_options(
        rounding=rounding,
        saturation=saturation,
        subnormals=subnormals,
        seed=seed,
        random_bits=random_bits,
        random_variant=random_variant,
    )
    values, source = numbers_of(x)
    result = _prepare_out(out, values.shape, f)
    if values.dtype.kind in "iu":
        values = _carried_integers(values, f, settings)
    if "daz" in settings.subnormals:
        values = without_subnormals(values, source)
    return round_to(
        values,
        f,
        settings.saturation,
        rounding=settings.rounding,
        subnormals=settings.subnormals,
        chance=settings.chance if seed is not None else settings.next_chance(),
        out=result,
    )


def round_to(
    values: np.ndarray,
    f: Format,
    saturation: str = "none",
    *,
    rounding: str = "nearest_even",
    subnormals: str = "gradual",
    chance: Chance | None = None,
    place: str = "",
    op: str = "quantize",
    count: bool = True,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`values` (float32, float64, or an object array of exact numbers) rounded once to `f`.

    What happened is counted at `place` if a trace is open, unless `count` is false.
    """
    if out is None:
        out = np.empty(values.shape, carrier_dtype(f))
    chance = chance or Chance()
    counting = count and watched()
    if out.size and np.may_share_memory(values, out) and not _in_place(values, out, f, counting):
        values = values.copy()
    if values.dtype == object or not has_step64(f):
        _round_exactly(values, f, rounding, saturation, subnormals, chance, out)
    else:
        if not f.has_nan:
            values = _without_nan(values, f, saturation)
        _round_in_kernel(values, f, rounding, saturation, subnormals, chance, out)
        if not f.signed:
            _mend_below_range(values, f, saturation, out)
    if counting:
        seen = exceptions(
            values,
            out,
            f,
            rounding=rounding,
            saturation=saturation,
            subnormals=subnormals,
            chance=chance,
            tininess=context.current().tininess,
        )
        report(place, op, values, out, f, saturation, seen)
    return out


def _kind_of_overflow(target, rounding: str) -> int:
    """What the float32 step is told about overflow."""
    from fpemu.kernels import step

    positive, negative, infinity = (
        np.float32(v).tobytes()
        for v in (target.overflow, target.overflow_negative, target.infinity)
    )
    largest = np.float32(target.largest).tobytes()
    if positive == negative == infinity:
        return step.ALIKE
    if positive == negative == largest:
        return step.CLAMPED
    if rounding == "toward_positive" and (positive, negative) == (infinity, largest):
        return step.OUTWARD
    if rounding == "toward_negative" and (positive, negative) == (largest, infinity):
        return step.OUTWARD
    return step.GENERAL


def exceptions(
    before: np.ndarray,
    after: np.ndarray,
    f: Format,
    *,
    rounding: str = "nearest_even",
    chance: Chance | None = None,
    tininess: str = "after",
    already_inexact: np.ndarray | None = None,
    **settings: str,
) -> flags.Seen:
    """What rounding `before` to `after`, values of `f`, signals; see `flags.of_rounding`."""
    no_kernel = object in (before.dtype, carrier_dtype(f)) or (f.precision > 51 and f != FP64)
    if no_kernel or (rounding == "stochastic" and roomy(f) is None):
        return flags.by_reference(
            before, f, chance, tininess=tininess, rounding=rounding, **settings
        )
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    over, tiny = _beyond(before, f, rounding, chance)
    if tininess == "before":
        tiny = np.abs(before) < f.smallest_normal
    below = None
    if not f.signed:
        below = before < 0
        if f.has_zero:  # all but what rounds to zero
            signed = dataclasses.replace(f, signed=True, encoding="finite")
            kept = settings.get("subnormals", "gradual")
            options = {"rounding": rounding, "chance": chance, "subnormals": kept, "count": False}
            below &= round_to(before, signed, "finite", **options) != 0  # type: ignore[arg-type]
    return flags.of_rounding(before, after, over, tiny, already_inexact, below)


def _beyond(before: np.ndarray, f: Format, rounding: str, chance: Chance | None):
    """Where `before`, rounded with an unbounded exponent, is above the largest value, and where it
    is below the smallest normal."""
    magnitude = np.abs(before)
    if rounding == "stochastic":
        wide = roomy(f)
        assert wide is not None
        freely = round_to(before, wide, "finite", rounding=rounding, chance=chance, count=False)
        freely = np.where(magnitude > wide.max, np.inf, np.abs(freely))
        return freely > f.max, freely < f.smallest_normal
    edges = []
    for edge in (overflow_edge, normal_edge):
        up, down = (edge(f, rounding, negative=negative) for negative in (False, True))
        edges.append(up if up == down else np.where(np.signbit(before), down, up))
    return magnitude >= edges[0], magnitude < edges[1]


def _in_place(values: np.ndarray, out: np.ndarray, f: Format, counting: bool) -> bool:
    """Whether a kernel may write each element of `out` over the same element of `values`."""
    same = values.ctypes.data == out.ctypes.data and values.dtype == out.dtype
    return same and values.flags.c_contiguous and f.signed and not counting


def _round_in_kernel(values, f, rounding, saturation, subnormals, chance, out) -> None:
    from fpemu.kernels import quantize as kernels
    from fpemu.kernels import step

    mode = _mode(f, rounding, subnormals)
    in32 = values.dtype == np.float32 and has_step32(f)
    if rounding == "stochastic":
        in32 = in32 and chance.random_bits <= 24 and chance.variant == "A"
    carrier = "float32" if in32 else "float64"
    target = target_of(f, saturation, carrier=carrier, rounding=rounding)
    source = np.ascontiguousarray(cast(values, carrier)).reshape(-1)
    flat = out.reshape(-1)  # a view: `out` is contiguous
    if rounding != "stochastic" or f == FP64:
        mode = mode if f != FP64 else mode & step.FLUSH  # FP64 drops nothing in any mode
        if in32:
            kernels.quantize32[mode + _kind_of_overflow(target, rounding)](source, target, flat)
        else:
            kernels.quantize64[mode](source, target, flat)
    elif in32:
        mode += _kind_of_overflow(target, rounding)
        kernels.stochastic32[mode](source, target, flat, *chance.words, chance.random_bits)
    elif chance.random_bits <= 31 and chance.variant == "A":
        random = (*chance.words, chance.random_bits)
        kernels.stochastic64_short[mode](source, target, flat, *random)
    else:
        kernels.stochastic64[mode](source, target, flat, *chance.words, *chance.choice)


def _mode(f: Format, rounding: str, subnormals: str) -> int:
    """The kernels' number of a rounding mode."""
    from fpemu.kernels import step

    by_code = f.fraction_bits == 0 and rounding == "nearest_even"
    mode = step.NEAREST_EVEN_CODE if by_code else getattr(step, rounding.upper())
    return mode + (step.FLUSH if "ftz" in subnormals else 0)


def encode(x: object, f: object, **settings) -> np.ndarray:
    """The codes of `x` rounded to `f`: bit patterns as right-aligned unsigned integers.

    Takes what `quantize` takes (except `out`) and raises what it raises. Returns uint8, uint16,
    uint32 or uint64, the narrowest that holds ``f.bits`` bits, in `x`'s shape. NaN becomes the
    one positive quiet NaN code, ``f.nan_code``.

    >>> [hex(c) for c in encode([1.0, -0.0, 465], "e4m3")]
    ['0x38', '0x80', '0x7f']
    """
    f = as_format(f)
    return codes_of(quantize(x, f, **settings), f)


def codes_of(values: np.ndarray, f: Format) -> np.ndarray:
    """The codes of `values` that are values of `f` already."""
    from fpemu.kernels import codec

    if _has_no_codec(f):
        listed = [exact.encode(v, f) for v in values.reshape(-1).tolist()]
        return np.array(listed, code_dtype(f)).reshape(values.shape)
    values = np.asarray(cast(values, np.float64), order="C")
    codes = np.empty(values.shape, np.int64)
    none = -1
    codec.encode(
        values.reshape(-1),
        _layout(f),
        none if f.inf_code is None else f.inf_code,
        none if f.nan_code is None else f.nan_code,
        f.has_negative_zero,
        codes.reshape(-1),
    )
    return codes.view(np.uint64).astype(code_dtype(f))


def _has_no_codec(f: Format) -> bool:
    """Whether some values are beyond float64's normal numbers."""
    return f.emin < -1022 or not f.fits_float64


def _layout(f: Format) -> tuple[int, int, int, int]:
    return f.exponent_bits, f.fraction_bits, f._bias, f.first_normal_field


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
    if _has_no_codec(f):
        values = np.empty(flat.shape, carrier_dtype(f))
        for i, code in enumerate(np.ascontiguousarray(codes).reshape(-1).tolist()):
            values[i] = _decoded(code, f)
        return values.reshape(codes.shape)
    values = np.empty(flat.shape, np.float64)
    inf_code = -1 if f.inf_code is None else f.inf_code
    unit, keeps_sign = f.smallest_subnormal, f.has_negative_zero
    codec.decode(flat, _layout(f), unit, f.max_code, inf_code, keeps_sign, values)
    return values.astype(carrier_dtype(f)).reshape(codes.shape)


def _carried_integers(values: np.ndarray, f: Format, settings: context.Arithmetic) -> np.ndarray:
    """Large integers in the kernels' carrier if nothing can be lost there, else as objects."""
    random = settings.random_bits + 2 if settings.rounding == "stochastic" else 0
    fits = has_step64(f) and f.precision + random <= 51 and not watched()
    return integers_made_odd(values) if fits else as_objects(values)


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


_decoded = functools.lru_cache(maxsize=1 << 16)(exact.decode)


def without_subnormals(values: np.ndarray, f: Format) -> np.ndarray:
    """`values` of the format `f` as "daz" reads them; exact numbers other than floats are nobody's
    subnormals, unless `f` itself has such values."""
    if values.dtype == object:
        read = np.empty(values.shape, object)
        for i, v in enumerate(values.flat):
            own = isinstance(v, float) or not f.fits_float64
            read.flat[i] = exact.read_operand(v, f, "daz") if own else v
        return read
    zero = np.copysign(values.dtype.type(0), values) if f.has_negative_zero else 0
    return np.where(np.abs(values) < f.smallest_normal, zero, values)


def _without_nan(values: np.ndarray, f: Format, saturation: str) -> np.ndarray:
    bad = np.isnan(values)
    if not bad.any():
        return values
    wide = values.astype(carrier_dtype(f)) if values.dtype == np.float32 else values
    return np.where(bad, float(exact.nan_of(f, saturation)), wide)


def _mend_below_range(values: np.ndarray, f: Format, saturation: str, out: np.ndarray) -> None:
    """What a format without a sign, or without zero, makes of `values` that the kernels, which
    know all signs and zero, have rounded to `out`."""
    below = (values < 0) & (out != 0) if f.has_zero else values <= 0
    if not f.has_zero:
        np.copyto(out, float(f.smallest_normal), where=(out < f.smallest_normal) & ~below)
    np.copyto(out, float(exact.below_range_of(f, saturation)), where=below)


def _round_exactly(values, f, rounding, saturation, subnormals, chance, out) -> None:
    """By the reference, element by element: for numbers and formats that no kernel takes."""
    settings = {"rounding": rounding, "saturation": saturation, "subnormals": subnormals}
    flat = out.reshape(-1)
    for i, v in enumerate(values.flat):
        number = v if isinstance(v, (int, Fraction)) else float(v)
        away = chance.away(i) if rounding == "stochastic" else None
        flat[i] = exact.round_to(number, f, **settings, away=away)
