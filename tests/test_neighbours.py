"""Neighbours, spacing, classes, enumeration and shortest decimals, against NumPy and by counting."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import exact
from fpemu.display import parse_number
from fpemu.formats import NAMED

SMALL = [f for f in NAMED.values() if f.bits <= 16]
SMALL += [fp.p3109(6, 3), fp.p3109(8, 4, extended=False), fp.p3109(5, 5, signed=False)]


def decoded(f: fp.Format) -> np.ndarray:
    every = np.array([exact.decode(code, f) for code in range(1 << f.bits)])
    return np.unique(every[np.isfinite(every)]) + 0.0


@pytest.mark.parametrize("f", SMALL, ids=str)
def test_values_and_neighbours_are_those_of_the_sorted_codes(f):
    every = decoded(f)
    assert fp.values(f).tolist() == every.tolist()
    beyond = math.inf if f.has_inf else math.nan if f.has_nan else f.max
    # Plus zero, because below it the sign of zero is another test's.
    assert_same(fp.next_up(every, f) + 0.0, np.append(every[1:], beyond), every)
    assert_same(fp.next_down(every, f)[1:] + 0.0, every[:-1], every[1:])
    if f.signed:
        assert same(fp.next_down(f.min, f), -beyond)
        minus = fp.next_up(-f.smallest_subnormal, f)
        assert same(minus, -0.0 if f.has_negative_zero else 0.0)
    else:
        assert math.isnan(fp.next_down(f.min, f))
    gaps = np.diff(every)
    positive = every[:-1] >= 0
    assert fp.ulp(every[:-1][positive], f).tolist() == gaps[positive].tolist()


def test_neighbours_and_spacing_are_numpys():
    rng = np.random.default_rng(0)
    for name, dtype, bits in [("fp32", np.float32, np.uint32), ("fp64", np.float64, np.uint64)]:
        x = rng.integers(0, 2 ** (8 * bits().itemsize), 5000, dtype=bits).view(dtype)
        x = np.concatenate([x[np.isfinite(x)], dtype([0, -0.0, np.finfo(dtype).max])])
        up, y = dtype(np.inf), rng.permutation(x)
        with np.errstate(all="ignore"):
            above, below, toward = np.nextafter(x, up), np.nextafter(x, -up), np.nextafter(x, y)
        assert_same(fp.next_up(x, name), above, x)
        assert_same(fp.next_down(x, name), below, x)
        assert_same(fp.nextafter(x, y, name), toward, x)
        x = x[np.abs(x) < np.finfo(dtype).max]  # there NumPy's spacing overflows
        assert_same(fp.ulp(x, name), np.spacing(np.abs(x)), x)
    assert np.isnan(fp.nextafter(1.0, math.nan, "fp16"))
    assert fp.next_up(math.inf, "fp16") == math.inf
    assert fp.next_up(-math.inf, "fp16") == -65504
    assert np.isnan(fp.next_down(math.nan, "e4m3"))
    assert fp.ulp(math.inf, "fp16") == math.inf
    assert fp.ulp(fp.FP64.max, "fp64") == math.ulp(fp.FP64.max)


@pytest.mark.parametrize("f", [fp.FP16, fp.E4M3, fp.E5M2FNUZ, fp.E2M1], ids=str)
def test_classes_follow_the_fields_of_the_code(f):
    for code in range(0, 1 << f.bits, 3):
        value = exact.decode(code, f)
        sign = "-" if code >> (f.bits - 1) else "+"
        field = (code >> f.fraction_bits) & ((1 << f.exponent_bits) - 1)
        fraction = code & ((1 << f.fraction_bits) - 1)
        name = "Normal" if field else "Subnormal" if fraction else "Zero"
        if math.isinf(value):
            name = "Infinity"
        want = "NaN" if math.isnan(value) else sign + name
        if not (math.isnan(value) and not f.has_nan):
            assert str(fp.classify(value, f)) == want, code


@given(st.floats(allow_nan=False))
def test_shortest_is_pythons_repr_in_fp64(x):
    assert fp.shortest(x, "fp64") == repr(x)


@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E4M3, fp.E5M2, fp.E2M3], ids=str)
def test_shortest_reads_back_and_nothing_shorter_does(f):
    for x in fp.values(f)[:: 1 if f.bits <= 8 else 97].tolist():
        text = fp.shortest(x, f)
        assert exact.round_to(parse_number(text) if x else x, f) == x
        if x and f == fp.FP16:
            digits = len(text.split("e")[0].replace(".", "").replace("-", "").strip("0"))
            numpys = np.format_float_scientific(np.float16(x), unique=True, trim="-")
            assert digits == len(numpys.split("e")[0].replace(".", "").replace("-", "").strip("0"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.next_up(0.1, "fp16"), "0.1 is not a value of fp16; round it first"),
        (lambda: fp.ulp([1.0, 1e9], "fp16"), "1000000000.0 is not a value of fp16"),
        (lambda: fp.classify(5.0, "e2m1"), "5.0 is not a value of e2m1"),
        (lambda: fp.classify(math.nan, "e2m1"), "nan is not a value of e2m1"),
        (lambda: fp.shortest(0.3, "bf16"), "0.3 is not a value of bf16"),
        (lambda: fp.values("fp32"), "fp32 has 2**32 codes, too many to list"),
        (lambda: fp.next_up(1.0, "fp61"), "unknown format 'fp61'"),
    ],
)
def test_what_is_not_a_value_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_nextafter_toward_any_number():
    just_above = Fraction(10**30 + 1, 10**30)
    toward = [10**400, -(10**400), just_above, math.nan]
    got = fp.nextafter([1.0] * 4, toward, "fp16").tolist()
    assert got[:3] == [1.0009765625, 0.99951171875, 1.0009765625]
    assert math.isnan(got[3])
    assert fp.nextafter(2.0**53, 2**53 + 1, "fp64") == 2.0**53 + 2
    with pytest.raises(fp.ArgumentError, match=r"nextafter of shapes \(2,\) and \(3,\)"):
        fp.nextafter([1.0, 2.0], [1, 2, 3], "fp16")
    with pytest.raises(fp.UnsupportedError, match="cannot round values of dtype"):
        fp.nextafter(1.0, "a", "fp16")
    wide = fp.Format("u63", 11, 52, signed=False)
    assert fp.next_up([0.0, 1.0], wide).tolist() == [5e-324, 1 + 2.0**-52]
