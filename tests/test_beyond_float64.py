"""Formats whose values float64 does not hold: the widest of P3109, and users' own."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_unsigned_and_p3109 import BEYOND

import fpemu as fp
from fpemu import elementwise, exact
from fpemu.rounding import ROUNDING, SATURATION

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
OWN = [
    fp.Format("e11m3fn", 11, 3, encoding="fn"),
    fp.Format("e11m52uz", 11, 52, encoding="fnuz"),
    fp.Format("e15m40", 15, 40, encoding="p3109_extended"),
    fp.Format("low", 5, 4, bias=2000),
    fp.Format("e11m20low", 11, 20, bias=1040),
]
ALL = [*BEYOND, *OWN]
some_format = st.sampled_from(ALL)


def value_by_definition(code: int, f: fp.Format) -> Fraction | float:
    """From the report's definition, in integers: nothing of fpemu but the format's parameters."""
    magnitude = code & ((1 << (f.exponent_bits + f.fraction_bits)) - 1)
    field, fraction = magnitude >> f.fraction_bits, magnitude & ((1 << f.fraction_bits) - 1)
    exponent = max(field, 1) - f.bias - f.fraction_bits
    lead = (1 << f.fraction_bits) if field else 0
    return Fraction(lead + fraction) * Fraction(2) ** exponent


def test_what_p3109_says_of_the_widest():
    f = fp.p3109(15, 1)  # bias 2**13; the top code is infinity
    assert (f.bits, f.bias, f.emin, f.emax) == (15, 8192, -8191, 8190)
    assert f.max == Fraction(2) ** 8190
    assert f.min == -f.max
    assert f.smallest_normal == f.smallest_subnormal == Fraction(1, 2**8191)
    widest = fp.as_format("binary15p1uf")
    assert (widest.emin, widest.emax) == (1 - 2**14, 2**14 - 2)
    assert fp.finfo(widest).max == Fraction(2) ** 16382
    assert (fp.FP64.fits_float64, fp.p3109(12, 1).fits_float64, f.fits_float64) == (1, 1, 0)


@pytest.mark.parametrize("f", ALL, ids=str)
def test_codes_have_the_values_of_the_definition(f):
    rng = np.random.default_rng(f.bits)
    codes = [0, 1, 2, f.max_code, f.max_code - 1, 1 << f.fraction_bits, *_random(rng, f, 60)]
    got = fp.decode(np.array(codes, np.uint64), f)
    assert got.tolist() == [value_by_definition(code, f) for code in codes]
    assert fp.encode(got, f).tolist() == codes
    if f.signed:
        assert fp.encode(-got[1:], f).tolist() == [code | 1 << (f.bits - 1) for code in codes[1:]]
    assert fp.encode(math.nan, f) == f.nan_code
    assert math.isnan(fp.decode(f.nan_code, f))
    if f.has_inf:
        assert fp.decode(f.inf_code, f) == math.inf


def _random(rng, f: fp.Format, count: int) -> list[int]:
    return [int(v) for v in rng.integers(0, f.max_code, count, endpoint=True)]


@given(data=st.data(), f=some_format, mode=st.sampled_from(MODES))
def test_rounding_between_neighbours(data, f, mode):
    """Between two neighbours, by the definitions of the modes."""
    code = data.draw(st.integers(0, f.max_code - 1))
    part = data.draw(st.sampled_from([Fraction(1, 2), Fraction(1, 3), Fraction(2, 3), Fraction(0)]))
    low, high = value_by_definition(code, f), value_by_definition(code + 1, f)
    x = low + (high - low) * part
    up = {
        "nearest_even": part > 0.5 or (part == 0.5 and code % 2 == 1),
        "nearest_away": part >= 0.5,
        "toward_zero": False,
        "toward_positive": part > 0,
        "toward_negative": False,
        "to_odd": part > 0 and code % 2 == 0,
    }[mode]
    assert fp.encode([x], f, rounding=mode)[0] == code + up
    if f.signed and (code or part):
        mirrored = {"toward_positive": "toward_negative", "toward_negative": "toward_positive"}
        got = fp.quantize([-x], f, rounding=mirrored.get(mode, mode))[0]
        assert got == -value_by_definition(code + up, f)


@given(data=st.data(), f=some_format, mode=st.sampled_from(MODES))
def test_arithmetic_is_rounded_from_exact_rationals(data, f, mode):
    op = data.draw(st.sampled_from(["add", "subtract", "multiply", "divide"]))
    saturation = data.draw(st.sampled_from(sorted(SATURATION)))
    a, b = (value_by_definition(data.draw(st.integers(1, f.max_code)), f) for _ in range(2))
    if op == "subtract" and not f.signed:
        a, b = max(a, b), min(a, b)
    want = {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b}[op]
    x, y = fp.array([a], f), fp.array([b], f)
    with fp.arithmetic(rounding=mode, saturation=saturation) as ctx:
        got = getattr(np, op)(x, y)
    if want == 0:
        assert got.tolist() == [0]
        return
    settings = {"rounding": mode, "saturation": saturation}
    assert got.tolist() == fp.quantize([want], f, **settings).tolist() or math.isnan(got.item())
    assert ("inexact" in ctx.flags) == (got.item() != want)


def test_functions_of_numbers_that_no_float_holds():
    f = fp.p3109(15, 2)
    big, small = fp.array([Fraction(2) ** 4000], f), fp.array([Fraction(1, 2**4000)], f)
    assert np.sqrt(big).tolist() == [Fraction(2) ** 2000]
    assert np.log2(big).tolist() == [4096.0]  # 4000 between 3072 and 4096
    assert np.exp2(fp.array([1024.0, 3072.0], f)).tolist() == [2**1024, 2**3072]
    assert np.exp(big).tolist() == [math.inf]
    assert np.tanh(big).tolist() == [1.0]
    for function in (np.sin, np.tanh, np.expm1, np.log1p):
        assert function(small).tolist() == small.tolist()
    with fp.arithmetic(rounding="toward_zero"):
        assert np.sin(small).tolist() == [Fraction(3, 2**4002)]
    with fp.arithmetic(rounding="toward_positive"):
        assert np.exp(small).tolist() == [1.5]
    assert fp.rsqrt(small).tolist() == [Fraction(2) ** 2000]
    assert np.hypot(big, big).tolist() == [Fraction(2) ** 4000 * 3 / 2]
    assert np.power(big, 0.5).tolist() == [Fraction(2) ** 2000]


def test_neighbours_and_classes():
    f = fp.p3109(15, 2)
    top = f.max
    assert fp.next_up([0.0, top], f).tolist() == [f.smallest_subnormal, math.inf]
    assert fp.next_down([0.0, -top], f).tolist() == [-f.smallest_subnormal, -math.inf]
    assert fp.nextafter([1.0, 1.0], [Fraction(2) ** 4000, -1], f).tolist() == [1.5, 0.75]
    assert fp.ulp([1.0, 0.0, top], f).tolist() == [0.5, f.smallest_subnormal, top / 2]
    kinds = fp.classify([top, -f.smallest_subnormal, 0.0, math.inf, math.nan], f)
    assert kinds.tolist() == ["+Normal", "-Subnormal", "+Zero", "+Infinity", "NaN"]
    values = fp.values(f)
    assert len(values) == 2 * f.max_code + 1
    assert all(a < b for a, b in itertools.pairwise(values))
    written = fp.shortest(top, f)
    assert exact.round_to(Fraction(written), f) == top
    assert len(written) < 10


def test_arrays_print_compare_and_leave():
    f = fp.p3109(14, 1)
    x = fp.array([Fraction(2) ** 3000, -1.0, math.nan], f)
    assert repr(x) == "fp.array([2**3000, -1.0, nan], fp.p3109(14, 1))"
    assert x.to_numpy().dtype == object
    assert (x > 1).tolist() == [True, False, False]
    assert np.isnan(x).tolist() == [False, False, True]
    assert np.signbit(x).tolist() == [False, True, False]
    assert (-x).tolist()[:2] == [-(2**3000), 1.0]
    assert x[0].item() == 2**3000
    assert x.astype("fp16").tolist()[:2] == [math.inf, -1.0]
    with fp.trace() as t:
        x[:2] * x[:2]
    assert (t.count("overflow"), t.count("values")) == (1, 2)
    assert fp.dot(x[:2], x[:2], accumulate="fp64").item() == math.inf
    assert fp.flags_of("multiply", x, x).tolist() == [5, 0, 0]
    assert "2**-4095" in str(fp.show(f.smallest_normal, [f]))
    with pytest.raises(fp.UnsupportedError, match="no NumPy or ml_dtypes dtype"):
        x.to_ml_dtypes()


@given(f=some_format, seed=st.integers(0, 99), n=st.integers(1, 30), data=st.data())
def test_stochastic_rounding(f, seed, n, data):
    code = data.draw(st.integers(1, f.max_code - 1))
    low, high = value_by_definition(code, f), value_by_definition(code + 1, f)
    part = Fraction(data.draw(st.integers(0, 2**40 - 1)), 2**40)
    got = fp.encode([low + (high - low) * part], f, rounding="stochastic", seed=seed, random_bits=n)
    up = math.floor(part * 2**n) + exact.random_integer(0, seed, n) >= 2**n
    assert got[0] == code + up


@pytest.mark.parametrize("subnormals", ["ftz", "daz"])
def test_subnormal_settings(subnormals):
    f = fp.p3109(15, 3)  # reaches 2**-2048
    x = fp.array([f.smallest_subnormal, -f.smallest_subnormal, f.smallest_normal], f)
    assert not f.fits_float64
    got = fp.quantize(x, f, subnormals=subnormals)
    assert got.tolist() == [0, 0, f.smallest_normal]
    assert fp.quantize(x, "fp64").tolist() == [0, 0, 0]
    two = elementwise.apply("multiply", x._values, np.array([2.0]), f=f, subnormals="daz")
    assert two.tolist() == [0, 0, 2 * f.smallest_normal]


def test_limits_are_stated():
    with pytest.raises(fp.ArgumentError, match="must not exceed 63 together, got 15 and 52"):
        fp.Format("too wide", 15, 52, encoding="p3109_finite")
    with pytest.raises(fp.ArgumentError, match=r"must lie within 2\*\*-33000 to 2\*\*33000"):
        fp.Format("too low", 5, 2, bias=40000)
    with pytest.raises(fp.ArgumentError, match="exponent_bits must be an integer from 1 to 11"):
        fp.Format("too many", 12, 2)
