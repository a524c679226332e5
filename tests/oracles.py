"""Judges that share no code with fpemu, and the values worth judging."""

from __future__ import annotations

import functools
import math

import gmpy2
import ml_dtypes
import numpy as np

import fpemu as fp

SIX = (fp.FP32, fp.TF32, fp.FP16, fp.BF16, fp.E4M3, fp.E5M2)
ML_DTYPES = {
    "bf16": ml_dtypes.bfloat16,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e4m3_ieee": ml_dtypes.float8_e4m3,
    "e3m4": ml_dtypes.float8_e3m4,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}


@functools.cache
def _mpfr_context(f: fp.Format):
    # MPFR writes 0.1xxx * 2**e, so its exponents are one larger than IEEE's.
    return gmpy2.context(
        precision=f.precision,
        emax=f.emax + 1,
        emin=f.emin - f.fraction_bits + 1,
        subnormalize=True,
        round=gmpy2.RoundToNearest,
    )


def mpfr_round(x: float, f: fp.Format) -> float:
    """x rounded by MPFR to a format that has infinities and all of its top binade below them."""
    with _mpfr_context(f):
        return float(gmpy2.mpfr(x))


def mpfr_quantize(points: np.ndarray, f: fp.Format) -> np.ndarray:
    """Points rounded by MPFR; for E4M3 with more range first, then OFP8's rule for overflow."""
    if f.has_inf:
        return np.array([mpfr_round(x, f) for x in points])
    assert f == fp.E4M3
    roomy = fp.Format("roomy", f.exponent_bits + 2, f.fraction_bits, bias=f.bias)
    want = np.array([mpfr_round(x, roomy) for x in points])
    want[np.abs(want) > 448] = np.nan
    return want


def cast(x: np.ndarray, dtype: object) -> np.ndarray:
    """NumPy's or ml_dtypes' own conversion, without its warnings about overflow and NaN."""
    with np.errstate(all="ignore"):
        return np.asarray(x).astype(dtype)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Element by element: same value and same sign of zero, or both NaN."""
    a, b = cast(a, np.float64), cast(b, np.float64)
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def assert_same(got: object, want: object, inputs: object) -> None:
    """Assert `same`, and show the first few differences with their inputs."""
    got, want, inputs = (np.asarray(v).reshape(-1) for v in (got, want, inputs))
    wrong = np.flatnonzero(~same(got, want))
    shown = [
        f"{float(inputs[i])!r} -> {float(got[i])!r}, want {float(want[i])!r}" for i in wrong[:5]
    ]
    assert wrong.size == 0, f"{wrong.size} of {got.size} differ: " + "; ".join(shown)


def finite_values(f: fp.Format) -> np.ndarray:
    """All finite values of a format of at most 19 bits, ascending, as float64."""
    values = np.array([_decode(code, f) for code in range(1 << (f.bits - 1))])
    values = values[np.isfinite(values)]
    return np.unique(np.concatenate([-values, values]))


def _decode(code: int, f: fp.Format) -> float:
    """The value of a positive code, straight from the definition of the fields."""
    field, fraction = code >> f.fraction_bits, code & ((1 << f.fraction_bits) - 1)
    top = (1 << f.exponent_bits) - 1
    if f.encoding == "ieee" and field == top:
        return math.nan if fraction else math.inf
    if f.encoding == "fn" and code == (1 << (f.bits - 1)) - 1:
        return math.nan
    if field == 0:
        return math.ldexp(fraction, 1 - f.bias - f.fraction_bits)
    return math.ldexp(fraction + (1 << f.fraction_bits), field - f.bias - f.fraction_bits)


def midpoints(f: fp.Format) -> np.ndarray:
    """float64: every midpoint between neighbours, and the float64s just below and above each.

    The point halfway between the largest value and the next one that the format does not have
    is among them.
    """
    values = finite_values(f)
    beyond = values[-1] + (values[-1] - values[-2])
    values = np.concatenate([[-beyond], values, [beyond]])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)])


def fp32_edges() -> np.ndarray:
    """float64 around FP32's values: every exponent, significands at the ends, and midpoints."""
    rng = np.random.default_rng(32)
    exponents = np.arange(-149, 128)
    steps = np.concatenate([[0, 1, 2, 3, 2**22, 2**23 - 1, 2**23 - 2], rng.integers(0, 2**23, 60)])
    unit = np.ldexp(1.0, np.maximum(exponents, -126) - 23)
    lead = np.where(exponents >= -126, 2.0**23, 0.0)
    base = ((lead[:, None] + steps) * unit[:, None]).reshape(-1)
    halves = np.repeat(unit / 2, len(steps))
    points = np.concatenate([base, base + halves])
    points = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf)])
    return np.concatenate([points, -points])


SPECIALS = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 5e-324, -5e-324, 1e-40])
