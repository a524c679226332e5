"""`quantize`, `encode` and `decode` against NumPy, ml_dtypes, MPFR and the exact reference."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import gmpy2
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    ML_DTYPES,
    SIX,
    SPECIALS,
    assert_same,
    cast,
    finite_values,
    fp32_edges,
    midpoints,
    mpfr_quantize,
    same,
)

import fpemu as fp
from fpemu import exact, rounding
from fpemu.chance import Chance
from fpemu.formats import NAMED
from fpemu.rounding import ROUNDING

SMALL = [f for f in SIX if f.bits <= 19]
DETERMINISTIC = [mode for mode in rounding.ROUNDING if mode != "stochastic"]


# -- all codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp16", *ML_DTYPES])
def test_decode_of_every_code_agrees_with_numpy_and_ml_dtypes(name):
    f = fp.as_format(name)
    dtype = np.float16 if name == "fp16" else ML_DTYPES[name]
    codes = np.arange(1 << f.bits, dtype=np.uint16 if f.bits > 8 else np.uint8)
    want = cast(codes.view(dtype), np.float32)
    assert_same(fp.decode(codes, f), want, codes)


def test_decode_of_every_tf32_code_is_fp32_with_zeros_appended():
    codes = np.arange(1 << 19, dtype=np.uint32)
    want = cast((codes << np.uint32(13)).view(np.float32), np.float64)
    assert_same(fp.decode(codes, fp.TF32), want, codes)


def test_fp32_and_fp64_codes_are_numpys():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    codes[:4] = 0, 0x80000000, 0x7F800000, 1
    values = codes.view(np.float32)
    assert_same(fp.decode(codes, fp.FP32), cast(values, np.float64), codes)
    real = ~np.isnan(values)
    assert np.array_equal(fp.encode(values, fp.FP32)[real], codes[real])
    codes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    codes[:4] = 0, 1, 2**63, 2**52 - 1
    values = codes.view(np.float64)
    assert_same(fp.decode(codes, fp.FP64), values, codes)
    real = ~np.isnan(values)
    assert np.array_equal(fp.encode(values, fp.FP64)[real], codes[real])


@pytest.mark.parametrize("f", [f for f in NAMED.values() if f.bits <= 19], ids=str)
def test_encode_inverts_decode_for_every_code(f):
    codes = np.arange(1 << f.bits, dtype=np.uint32)
    values = fp.decode(codes, f)
    real = ~np.isnan(values)
    again = fp.encode(values[real], f)
    assert np.array_equal(again, codes[real])
    assert again.dtype == {1: np.uint8, 2: np.uint16, 3: np.uint32}[-(-f.bits // 8)]
    if f.has_nan:
        assert fp.encode(math.nan, f) == f.nan_code
        assert np.isnan(fp.decode(f.nan_code, f))


# -- every value, every midpoint, and the float64s next to it --------------------------------------


@pytest.mark.parametrize("f", SMALL, ids=str)
def test_midpoints_and_values_from_float64_agree_with_mpfr(f):
    points = np.concatenate([midpoints(f), finite_values(f), SPECIALS])
    assert_same(fp.quantize(points, f), mpfr_quantize(points, f), points)


@pytest.mark.parametrize("f", [fp.TF32, fp.FP16, fp.BF16, fp.FP32], ids=str)
def test_midpoints_agree_with_the_exact_reference(f):
    """All of FP16's and BF16's, every eleventh of TF32's and FP32's edges (8-bit: see below)."""
    points = fp32_edges() if f == fp.FP32 else midpoints(f)
    points = points[:: 1 if f.bits <= 16 else 11]
    assert_same(fp.quantize(points, f), [exact.round_to(x, f) for x in points.tolist()], points)


def test_fp32_edges_from_float64_agree_with_the_processor():
    points = np.concatenate([fp32_edges(), SPECIALS])
    want = cast(points, np.float32)
    assert_same(fp.quantize(points, fp.FP32), want, points)


def test_fp16_from_float64_agrees_with_numpy():
    points = np.concatenate([midpoints(fp.FP16), SPECIALS])
    want = cast(points, np.float16)
    assert_same(fp.quantize(points, fp.FP16), want, points)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_midpoints_from_float32_agree_with_ml_dtypes(name):
    f = fp.as_format(name)
    middle = midpoints(f)[: len(midpoints(f)) // 3].astype(np.float32)  # exact in float32
    up, down = np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf))
    points = np.concatenate([middle, up, down, finite_values(f).astype(np.float32)])
    points = np.concatenate([points, SPECIALS[:4].astype(np.float32), [np.float32(1e30)]])
    want = cast(cast(points, ML_DTYPES[name]), np.float32)
    assert_same(fp.quantize(points, f), want, points)


@pytest.mark.parametrize("f", SMALL, ids=str)
def test_float32_and_float64_input_take_different_steps_to_the_same_bits(f):
    points = np.concatenate([midpoints(f), finite_values(f)]).astype(np.float32)
    assert_same(fp.quantize(points, f), fp.quantize(points.astype(np.float64), f), points)


@pytest.mark.parametrize("saturation", rounding.SATURATION)
@pytest.mark.parametrize("f", [f for f in NAMED.values() if f.bits <= 8], ids=str)
def test_8_bit_formats_agree_with_the_reference_under_every_saturation(f, saturation):
    points = np.concatenate([midpoints_any(f), SPECIALS[~np.isnan(SPECIALS)], [f.max * 8]])
    want = [exact.round_to(float(x), f, saturation=saturation) for x in points]
    assert_same(fp.quantize(points, f, saturation=saturation), want, points)
    single = cast(points, np.float32)
    want = [exact.round_to(float(x), f, saturation=saturation) for x in single]
    assert_same(fp.quantize(single, f, saturation=saturation), want, single)


MPFR_MODES = {
    "toward_zero": gmpy2.RoundToZero,
    "toward_positive": gmpy2.RoundUp,
    "toward_negative": gmpy2.RoundDown,
}


@pytest.mark.parametrize("mode", MPFR_MODES)
@pytest.mark.parametrize("f", [fp.E5M2, fp.FP16, fp.BF16], ids=str)
def test_directed_modes_around_every_value_agree_with_mpfr(f, mode):
    points = np.concatenate([midpoints(f), finite_values(f), SPECIALS])
    settings = {"precision": f.precision, "emax": f.emax + 1, "subnormalize": True}
    with gmpy2.context(emin=f.emin - f.fraction_bits + 1, round=MPFR_MODES[mode], **settings):
        want = np.array([float(gmpy2.mpfr(x)) for x in points.tolist()])
    assert_same(fp.quantize(points, f, rounding=mode), want, points)


@pytest.mark.parametrize("mode", DETERMINISTIC)
@pytest.mark.parametrize("f", [f for f in NAMED.values() if f.bits <= 8], ids=str)
def test_8_bit_formats_agree_with_the_reference_in_every_mode(f, mode):
    points = np.concatenate([midpoints_any(f), SPECIALS[~np.isnan(SPECIALS)], [f.max * 8]])
    for saturation in rounding.SATURATION:
        settings = {"rounding": mode, "saturation": saturation}
        want = [exact.round_to(x, f, **settings) for x in points.tolist()]
        assert_same(fp.quantize(points, f, **settings), want, points)
        single = cast(points, np.float32)
        want = [exact.round_to(x, f, **settings) for x in single.astype(float).tolist()]
        assert_same(fp.quantize(single, f, **settings), want, single)


def midpoints_any(f: fp.Format) -> np.ndarray:
    """Midpoints between the values that `exact` decodes: for FNUZ, whose -0 is NaN, too."""
    values = np.array([exact.decode(code, f) for code in range(1 << f.bits)])
    values = np.unique(values[np.isfinite(values)])
    beyond = 2 * values[-1] - values[-2]
    values = np.concatenate([[-beyond], values, [beyond]])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([values, middle, np.nextafter(middle, 9e9), np.nextafter(middle, -9e9)])


@given(
    x=st.floats(),
    name=st.sampled_from(sorted(NAMED)),
    mode=st.sampled_from(DETERMINISTIC),
    saturation=st.sampled_from(sorted(rounding.SATURATION)),
    subnormals=st.sampled_from(["gradual", "ftz"]),
)
def test_any_float64_under_any_settings_agrees_with_the_reference(
    x, name, mode, saturation, subnormals
):
    f = fp.as_format(name)
    settings = {"rounding": mode, "saturation": saturation, "subnormals": subnormals}
    if math.isnan(x) and not f.has_nan and saturation != "finite":
        with pytest.raises(fp.ArgumentError, match="has no NaN"):
            fp.quantize(x, f, **settings)
        return
    assert same(fp.quantize(x, f, **settings), exact.round_to(x, f, **settings))


@given(
    x=st.floats(width=32),
    e=st.integers(2, 8),
    m=st.integers(0, 23),
    mode=st.sampled_from(DETERMINISTIC),
    encoding=st.sampled_from(["ieee", "fn", "fnuz", "finite"]),
    shift=st.integers(-20, 20),
)
def test_user_formats_agree_with_the_reference(x, e, m, mode, encoding, shift):
    if encoding == "ieee" and m == 0:
        return
    f = fp.Format("mine", e, m, bias=(1 << (e - 1)) + shift, encoding=encoding)
    if math.isnan(x) and not f.has_nan:
        return
    for value in (np.float32(x), np.float64(x)):
        want = exact.round_to(float(value), f, rounding=mode)
        assert same(fp.quantize(value, f, rounding=mode), want)


# -- what may go in, and how ----------------------------------------------------------------------


def test_input_is_rounded_once_from_what_it_is():
    # Through float64 or float32 each of these would come out as the value in the comment.
    assert fp.quantize(16973823, fp.BF16) == 16908288  # 17039360
    assert fp.quantize(np.int64([16973823]), fp.BF16)[0] == 16908288
    n = 2**64 + 2**40 + 1  # just above the midpoint of FP32; float64 drops the last 1
    assert fp.quantize(n, fp.FP32) == 2**64 + 2**41
    assert fp.quantize(np.uint64(2**63 + 2**39 + 1), fp.FP32) == 2**63 + 2**40
    third = Fraction(1, 3)
    assert fp.quantize(third, fp.FP64) == 1 / 3
    tie = Fraction(1) + Fraction(1, 2**11) + Fraction(1, 2**90)
    assert fp.quantize([tie], fp.FP16)[0] == 1.0009765625  # 1.0
    assert fp.quantize(Decimal("0.1"), fp.FP16) == np.float16(0.1)
    assert fp.quantize([Decimal("NaN")], fp.FP16).tolist() != [0]
    wide = np.longdouble(1) + np.longdouble(2) ** -11 + np.longdouble(2) ** -60
    if np.finfo(np.longdouble).nmant > 60:
        assert fp.quantize(wide, fp.FP16) == 1.0009765625  # 1.0


@pytest.mark.parametrize(
    "x",
    [
        np.float16([1.5, -0.0, 6e-8]),
        np.arange(6, dtype=np.int8),
        np.array([True, False]),
        np.array([1.1, 2.2], ml_dtypes.bfloat16),
        np.array([1.1, 2.2], ">f4"),
        np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1, ::2],
        np.empty((0, 3)),
        np.float64(0.3),
    ],
    ids=["float16", "int8", "bool", "bfloat16", "big-endian", "strided", "empty", "0-d"],
)
def test_any_kind_of_array_is_taken(x):
    got = fp.quantize(x, fp.E4M3)
    want = [exact.round_to(float(v), fp.E4M3) for v in np.asarray(x).flat]
    assert got.shape == np.shape(x)
    assert got.dtype == np.float32
    assert_same(got, want, np.asarray(x, np.float64))


def test_shapes_go_through():
    for shape in [(), (1,), (2, 0), (2, 3)]:
        x = np.full(shape, 0.3)
        assert fp.quantize(x, fp.FP16).shape == shape
        assert fp.encode(x, fp.FP16).shape == shape
        assert fp.decode(fp.encode(x, fp.FP16), fp.FP16).shape == shape
        assert np.exp(fp.array(x, fp.FP16)).shape == shape


def test_the_input_is_left_alone_and_out_is_used():
    x = np.array([0.1, 0.2], np.float32)
    out = np.zeros(2, np.float32)
    assert fp.quantize(x, fp.E5M2, out=out) is out
    assert out.tolist() == [0.09375, 0.1875]
    assert x.tolist() == np.array([0.1, 0.2], np.float32).tolist()
    fp.quantize(x, fp.E5M2, out=x)
    assert x.tolist() == [0.09375, 0.1875]
    with pytest.raises(fp.ArgumentError, match=r"out must be a writeable C-contiguous float32"):
        fp.quantize(x, fp.E5M2, out=np.zeros(2))


def test_subnormal_settings():
    x = np.array([2.0**-24, -(2.0**-20), 2.0**-14], np.float16)
    assert fp.quantize(x, fp.FP16, subnormals="gradual").tolist() == x.tolist()
    assert_same(fp.quantize(x, fp.FP16, subnormals="ftz"), [0.0, -0.0, 2.0**-14], x)
    assert_same(fp.quantize(x, fp.BF16, subnormals="daz"), [0.0, -0.0, 2.0**-14], x)
    assert_same(fp.quantize(x, fp.BF16, subnormals="ftz"), x.astype(np.float32), x)
    assert_same(fp.quantize(x, fp.E4M3, subnormals="ftz+daz"), [0.0, -0.0, 0.0], x)


def test_nan_is_the_one_positive_quiet_nan_in_every_carrier():
    nans = np.array([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFC00000], np.uint32).view(np.float32)
    for f in SIX:
        assert (fp.quantize(nans, f).view(np.uint32) == 0x7FC00000).all(), f
        assert (fp.encode(nans, f) == f.nan_code).all()
    assert (fp.encode(cast(nans, np.float64), fp.E5M2FNUZ) == 0x80).all()
    assert fp.encode(math.nan, fp.FP16) == 0x7E00
    assert fp.encode(math.nan, fp.E4M3) == 0x7F


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.quantize(1, "fp61"), "unknown format 'fp61'; did you mean 'fp64'?"),
        (lambda: fp.quantize(1, fp.FP16, rounding="up"), "unknown rounding 'up';"),
        (
            lambda: fp.quantize(1, fp.FP16, saturation=True),
            "unknown saturation True; allowed: none",
        ),
        (lambda: fp.quantize(1, fp.FP16, subnormals="no"), "unknown subnormals 'no'"),
        (lambda: fp.quantize(1j, fp.FP16), "cannot round values of dtype complex128"),
        (lambda: fp.quantize("1", fp.FP16), "cannot round values of dtype <U1"),
        (lambda: fp.quantize([None], fp.FP16), "cannot round None"),
        (lambda: fp.quantize(math.nan, fp.E2M1), "NaN cannot be stored in e2m1, which has no NaN"),
        (lambda: fp.decode([256], fp.E4M3), "code 256 does not fit e4m3: allowed 0 to 255"),
        (lambda: fp.decode([-1], fp.E4M3), "code -1 does not fit e4m3"),
        (lambda: fp.decode([0.5], fp.E4M3), "codes must be integers, got dtype float64"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(call, message):
    with pytest.raises(fp.FpemuError) as caught:
        call()
    assert message in str(caught.value)


@given(
    values=st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(2**53 - 5, 2**53 + 5),
            st.sampled_from([2**63 - 1, -(2**63), 2**62 + 1, -(2**62) - 1, 2**60 + 2**36 + 1]),
        ),
        min_size=1,
        max_size=5,
    ),
    name=st.sampled_from(["fp32", "bf16", "fp16", "tf32", "fp64", "e5m2", "e8m0"]),
    mode=st.sampled_from(list(ROUNDING)),
)
def test_large_integers_round_once(values, name, mode):
    f = fp.as_format(name)
    for dtype in (np.int64, np.uint64):
        kept = [abs(v) for v in values] if dtype == np.uint64 else values
        settings = {"rounding": mode, "seed": 5}
        got = fp.quantize(np.array(kept, dtype), f, **settings)
        for i, v in enumerate(kept):
            away = Chance(5).away(i) if mode == "stochastic" else None
            assert same(got[i], exact.round_to(v, f, rounding=mode, away=away)), v


def test_lists_with_large_integers_and_floats_lose_nothing():
    mixed = [2**60 + 2**36 + 1, 0.5, -(2**63), 2**63 + 2**39 + 1]
    assert fp.quantize(mixed, "fp32").tolist() == [exact.round_to(v, fp.FP32) for v in mixed]
    assert fp.quantize(2**53 + 1, "fp64", rounding="toward_positive") == 2**53 + 2
    with pytest.raises(fp.ArgumentError, match="9007199254740993 is not a value of fp64"):
        fp.next_up(2**53 + 1, "fp64")


def test_out_may_overlap_the_input():
    x = np.arange(1, 4001, dtype=np.float32) / 3
    want = fp.quantize(x, "fp16")
    for shift in (-3, -1, 1, 5):
        buffer = np.zeros(4010, np.float32)
        source, target = buffer[5:4005], buffer[5 + shift : 4005 + shift]
        source[:] = x
        assert np.array_equal(fp.quantize(source, "fp16", out=target), want), shift
    y = x.copy()
    with fp.trace() as t:
        fp.quantize(y, "fp16", out=y)
    assert np.array_equal(y, want)
    assert t.count("inexact") == np.count_nonzero(want != x) > 0


def test_daz_reads_python_floats_of_any_list():
    assert fp.quantize([2**60, 5e-324], "fp64", subnormals="daz").tolist() == [2.0**60, 0.0]
    assert fp.quantize([Fraction(1, 3), -1e-310], "fp64", subnormals="daz").tolist()[1] == 0


def test_53_bits_in_another_format_than_fp64():
    f = fp.Format("g52", 8, 52)
    x = np.array([1 + 2.0**-52, math.pi, 1e-50])
    assert fp.quantize(x, f).tolist() == [exact.round_to(v, f) for v in x.tolist()]


def test_nan_saturates_to_a_largest_value_that_float32_does_not_hold():
    for f in (
        fp.Format("low", 3, 2, bias=1000, encoding="finite"),
        fp.Format("high", 9, 2, bias=-4, encoding="finite"),
        fp.Format("long", 5, 30, encoding="finite"),
    ):
        for dtype in (np.float16, np.float32, np.float64):
            with fp.arithmetic(saturation="finite") as ctx:
                assert fp.quantize(np.array([np.nan], dtype), f).tolist() == [f.max]
            assert ctx.flags == set(), (f, dtype)


def test_lists_take_numbers_of_any_kind():
    kinds = [fp.quantize(1e17, "fp32"), 2.0, np.True_, ml_dtypes.bfloat16(3), np.float16(0.5)]
    assert fp.quantize(kinds, "fp64").tolist() == [float(np.float32(1e17)), 2.0, 1.0, 3.0, 0.5]
    assert fp.quantize(np.array([1, -2], ml_dtypes.int4), "fp16").tolist() == [1.0, -2.0]
    assert math.isnan(fp.quantize(Decimal("sNaN"), "fp16"))


def test_decode_of_formats_below_float64s_normal_numbers_makes_no_table():
    f = fp.Format("x", 3, 40, bias=1030)
    assert fp.decode([1, 1 << 40], f).tolist() == [2.0**-1069, 2.0**-1029]
    assert fp.next_up([2.0**-1029], f).tolist() == [2.0**-1029 + 2.0**-1069]
