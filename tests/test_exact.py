"""The specification itself, against MPFR, SoftFloat, the processor and the published examples."""

from __future__ import annotations

import math
from fractions import Fraction

import gmpy2
import numpy as np
import pytest
import softfloatpy as sf
from hypothesis import given
from hypothesis import strategies as st
from oracles import SIX, mpfr_round, same

import fpemu as fp
from fpemu import exact

any_float = st.floats(allow_nan=True, allow_infinity=True)
halves = st.integers(0, 0xFFFF)
OPERATIONS = {
    "add": (exact.add, sf.f16_add),
    "subtract": (exact.subtract, sf.f16_sub),
    "multiply": (exact.multiply, sf.f16_mul),
    "divide": (exact.divide, sf.f16_div),
}


@pytest.mark.parametrize("f", [f for f in SIX if f.has_inf], ids=str)
@given(x=any_float)
def test_round_to_agrees_with_mpfr(f, x):
    assert same(exact.round_to(x, f), mpfr_round(x, f))


@given(x=st.floats(width=64))
def test_fp64_is_what_python_computes_with(x):
    assert same(exact.round_to(x, fp.FP64), x)


@given(n=st.integers(-(2**200), 2**200), d=st.integers(1, 2**80))
def test_fractions_round_to_the_nearest_float64(n, d):
    assert exact.round_to(Fraction(n, d), fp.FP64) == n / d  # CPython's division is exact


@pytest.mark.parametrize("name", OPERATIONS)
@given(a=halves, b=halves)
def test_fp16_operations_agree_with_softfloat(name, a, b):
    ours, theirs = OPERATIONS[name]
    want = theirs(_f16(a), _f16(b))
    got = ours(exact.decode(a, fp.FP16), exact.decode(b, fp.FP16), fp.FP16)
    assert same(got, exact.decode(_bits(want), fp.FP16))


@given(a=halves)
def test_fp16_sqrt_agrees_with_softfloat(a):
    want = exact.decode(_bits(sf.f16_sqrt(_f16(a))), fp.FP16)
    assert same(exact.sqrt(exact.decode(a, fp.FP16), fp.FP16), want)


@given(a=st.floats(0, allow_infinity=False))
def test_fp64_sqrt_is_the_processors(a):
    assert exact.sqrt(a, fp.FP64) == math.sqrt(a)


def _f16(code: int):
    return sf.Float16.from_bytes(code.to_bytes(2, "big"))


def _bits(x) -> int:
    return int.from_bytes(x.to_bytes(), "big")


@pytest.mark.parametrize("mode", ["toward_zero", "toward_positive", "toward_negative"])
@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E5M2, fp.TF32], ids=str)
@given(x=any_float)
def test_directed_modes_agree_with_mpfr(f, mode, x):
    modes = {
        "toward_zero": gmpy2.RoundToZero,
        "toward_positive": gmpy2.RoundUp,
        "toward_negative": gmpy2.RoundDown,
    }
    settings = {"precision": f.precision, "emax": f.emax + 1, "subnormalize": True}
    with gmpy2.context(emin=f.emin - f.fraction_bits + 1, round=modes[mode], **settings):
        want = float(gmpy2.mpfr(x))
    assert same(exact.round_to(x, f, rounding=mode), want)


# From the OFP8 and IEEE rules; each is a case that a popular library gets wrong.
PUBLISHED = [
    (fp.E4M3, 464.0, {}, 448.0),
    (fp.E4M3, 464.01, {}, math.nan),
    (fp.E4M3, 464.01, {"saturation": "finite"}, 448.0),
    (fp.E4M3, math.inf, {"saturation": "finite"}, 448.0),
    (fp.E5M2, math.inf, {"saturation": "propagate"}, math.inf),
    (fp.E5M2, 1e9, {"saturation": "propagate"}, 57344.0),
    (fp.E5M2, 58000.0, {"saturation": "finite"}, 57344.0),
    (fp.FP16, 65519.99, {}, 65504.0),
    (fp.FP16, 65520.0, {}, math.inf),
    (fp.FP16, 1 + 2**-11 + 2**-40, {}, 1.0009765625),
    (fp.BF16, 1 + 2**-8 + 2**-40, {}, 1.0078125),
    (fp.E4M3, -431.99999999999994, {}, -416.0),
    (fp.FP16, 2.0**-25, {}, 0.0),
    (fp.FP16, 2.0**-25 * (1 + 2**-52), {}, 2.0**-24),
    (fp.FP16, 3 * 2.0**-25, {}, 2.0**-23),
    (fp.FP16, 2.0**-14 * (1 - 2**-12), {}, 2.0**-14),
    (fp.FP16, 2.0**-14 * (1 - 2**-12), {"subnormals": "ftz"}, 2.0**-14),
    (fp.FP16, -(2.0**-15), {"subnormals": "ftz"}, -0.0),
    (fp.FP16, -1e-30, {}, -0.0),
    (fp.FP16, -1e-30, {"rounding": "toward_positive"}, -0.0),
    (fp.E4M3FNUZ, -1e-30, {}, 0.0),
    (fp.E4M3FNUZ, -0.0, {}, 0.0),
    (fp.E4M3, 448.1, {"rounding": "toward_positive"}, math.nan),
    (fp.E4M3, 448.1, {"rounding": "toward_negative"}, 448.0),
    (fp.FP16, -1e9, {"rounding": "toward_positive"}, -65504.0),
    (fp.FP16, 1e9, {"rounding": "to_odd"}, 65504.0),
    (fp.FP16, 1.0, {"rounding": "to_odd"}, 1.0),
    (fp.FP16, 1 + 2**-20, {"rounding": "to_odd"}, 1.0009765625),
    (fp.FP16, 1 + 2**-11, {"rounding": "nearest_away"}, 1.0009765625),
    (fp.E2M1, 5.0, {}, 4.0),
    (fp.E2M1, 3.5, {}, 4.0),
    (fp.E2M1, 2.5, {}, 2.0),
    (fp.E2M1, 0.25, {}, 0.0),
    (fp.E2M1, math.inf, {}, 6.0),
    (fp.E2M1, math.nan, {"saturation": "finite"}, 6.0),
    (fp.BF16, 16973823, {}, 16908288.0),
]


@pytest.mark.parametrize(("f", "x", "settings", "want"), PUBLISHED)
def test_published_cases(f, x, settings, want):
    assert same(exact.round_to(x, f, **settings), want)


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e4m3fnuz", "e3m4", "e2m3", "e2m1"])
def test_encode_inverts_decode(name):
    f = fp.as_format(name)
    for code in range(1 << f.bits):
        value = exact.decode(code, f)
        if not math.isnan(value):
            assert exact.encode(value, f) == code


def test_encode_refuses_what_is_not_a_value():
    with pytest.raises(fp.ArgumentError, match=r"0\.1 is not a value of fp16; round it first"):
        exact.encode(0.1, fp.FP16)
    with pytest.raises(fp.ArgumentError, match="e2m1, which has no NaN"):
        exact.encode(math.nan, fp.E2M1)


def test_sums_stop_where_the_gap_is_two():
    stops = {"fp16": 2048, "bf16": 256, "e4m3": 16, "e5m2": 8}
    for name, stop in stops.items():
        assert (
            exact.total([1.0] * 4096, fp.as_format(name))
            == stop
            == 2 ** fp.as_format(name).precision
        )


def test_special_operands_follow_ieee():
    inf, nan = math.inf, math.nan
    f = fp.FP16
    assert math.isnan(exact.add(inf, -inf, f))
    assert math.isnan(exact.multiply(0.0, inf, f))
    assert math.isnan(exact.divide(0.0, 0.0, f))
    assert math.isnan(exact.sqrt(-1.0, f))
    assert exact.divide(1.0, -0.0, f) == -inf
    assert math.isnan(exact.divide(1.0, 0.0, fp.E4M3))
    assert exact.divide(1.0, 0.0, fp.E4M3, saturation="finite") == 448
    assert same(exact.add(-0.0, -0.0, f), -0.0)
    assert same(exact.add(1.0, -1.0, f), 0.0)
    assert same(exact.add(1.0, -1.0, f, rounding="toward_negative"), -0.0)
    assert same(exact.multiply(-0.0, 3.0, f), -0.0)
    assert same(exact.sqrt(-0.0, f), -0.0)
    assert math.isnan(exact.divide(nan, 0.0, f))
    assert np.isnan(exact.round_to(nan, f))
