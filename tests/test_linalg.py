"""`sum`, `dot` and `matmul` against the exact reference, product by product and sum by sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import softfloatpy as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import exact
from fpemu.accumulation import sequential
from fpemu.formats import NAMED

ALL = sorted(NAMED)


def by_reference(a, b, f, c=None):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    out = np.zeros((a.shape[0], b.shape[1]))
    for i, j in np.ndindex(out.shape):
        total = 0.0 if c is None else float(c[i, j])
        for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
            total = exact.add(total, exact.multiply(x, y, f), f)
        # The sum of nothing is +0, where there is a zero.
        out[i, j] = total if f.has_zero or a.shape[1] else exact.round_to(total, f)
    return out


@st.composite
def problems(draw):
    """Two matrices of one format, an accumulator, and values weighted to the edges of both."""
    f, accumulator = (fp.as_format(draw(st.sampled_from(ALL))) for _ in range(2))
    m, k, n = (draw(st.integers(0, 4)), draw(st.integers(0, 9)), draw(st.integers(0, 5)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    # Exponents anywhere in the format, or where products meet the accumulator's ends.
    low, high = f.emin - f.fraction_bits, f.emax
    around = [accumulator.emin // 2, (accumulator.emin - accumulator.fraction_bits) // 2]
    around += [accumulator.emax // 2, 0]
    center = draw(st.sampled_from([*around, None]))
    spread = draw(st.integers(0, 12))

    def matrix(shape):
        if center is None:
            e = rng.integers(low, high + 1, shape)
        else:
            e = np.clip(center + rng.integers(-spread - 1, spread + 1, shape), low, high)
        # Not the whole significand: short ones make exact ties in products and sums.
        digits = int(rng.integers(1, 20))
        s = 1 + rng.integers(0, 1 << digits, shape) / (1 << digits)
        x = np.ldexp(s, e) * rng.choice([1, 1, -1], shape)
        x[rng.random(shape) < 0.05] = 0.0
        x[rng.random(shape) < 0.03] = -0.0
        if f.has_nan and rng.random() < 0.2 and x.size:
            x.flat[rng.integers(x.size)] = math.nan
        if f.has_inf and rng.random() < 0.3 and x.size:
            x.flat[rng.integers(x.size)] = rng.choice([-math.inf, math.inf])
        return fp.array(x, f, saturation="propagate" if f.has_inf else "finite")

    return matrix((m, k)), matrix((k, n)), accumulator


@settings(max_examples=400)
@given(problem=problems())
def test_matmul_is_the_reference_for_any_formats_and_shapes(problem):
    a, b, accumulator = problem
    if not accumulator.has_nan and not (np.isfinite(a).all() and np.isfinite(b).all()):
        return
    got = fp.matmul(a, b, accumulate=accumulator, out=accumulator)
    want = by_reference(a, b, accumulator)
    assert got.format == accumulator
    assert_same(got, want, want)
    with fp.trace():
        watched = fp.matmul(a, b, accumulate=accumulator, out=accumulator)
    assert_same(watched, got, want)


@st.composite
def user_formats(draw):
    """Formats with odd ranges, where a carrier may end before the format does."""
    e, m = draw(st.integers(1, 8)), draw(st.integers(0, 23))
    bias = (1 << (e - 1)) - 1 + draw(st.integers(-60, 60))
    encoding = draw(st.sampled_from(["ieee", "fn", "fnuz", "finite"]))
    try:
        return fp.Format("mine", e, m, bias=bias, encoding=encoding)
    except fp.ArgumentError:
        return fp.E4M3


any_format = user_formats() | st.sampled_from([fp.as_format(name) for name in ALL])


@settings(max_examples=400)
@given(
    formats=st.tuples(any_format, any_format, any_format),
    alike=st.booleans(),
    saturation=st.sampled_from(["none", "finite", "propagate"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_carriers_hold_for_user_formats_at_the_edges_of_the_accumulator(
    formats, alike, saturation, seed
):
    fa, fb, f = (formats[0], formats[0], formats[2]) if alike else formats
    if sequential.carrier_for(fa, fb, f, saturation) is None:
        return
    rng = np.random.default_rng(seed)
    edge = rng.choice([f.emin, f.emin - f.fraction_bits, f.emin - f.fraction_bits - 1, f.emax])
    at = int(rng.integers(fa.emin - fa.fraction_bits, fa.emax + 1))

    def values(g, center, shape):
        e = np.clip(center + rng.integers(-4, 5, shape), g.emin - g.fraction_bits, g.emax)
        s = 1 + rng.integers(0, 1 << 12, shape) / (1 << int(rng.integers(12, 24)))
        return fp.quantize(np.ldexp(s, e) * rng.choice([1, -1], shape), g, saturation="finite")

    a, b = values(fa, at, (2, 4)), values(fb, int(edge) - at, (4, 2))
    if fa.has_inf and rng.random() < 0.2:
        a[0, 0] = np.inf
    settings = {"saturation": saturation}
    try:
        got = sequential.accumulate_products(a, b, (fa, fb, f), **settings)
    except fp.ArgumentError:
        if f.has_nan:
            raise
        return
    for i, j in np.ndindex(2, 2):
        total = 0.0
        for k in range(4):
            product = exact.multiply(float(a[i, k]), float(b[k, j]), f, **settings)
            total = exact.add(total, product, f, **settings)
        assert same(got[i, j], total), (a[i], b[:, j])


@pytest.mark.parametrize("name", ["fp16", "bf16", "fp32", "tf32", "e4m3", "e5m2"])
def test_larger_products_agree_with_the_reference(name):
    f = fp.as_format(name)
    rng = np.random.default_rng(7)
    a = fp.array(rng.standard_normal((7, 33)), f)
    b = fp.array(rng.standard_normal((33, 19)), f)
    assert_same(a @ b, by_reference(a, b, f), by_reference(a, b, f))


def test_fp16_dot_agrees_with_softfloat():
    rng = np.random.default_rng(3)
    a, b = (fp.array(rng.standard_normal(500), fp.FP16) for _ in range(2))
    total = sf.Float16.from_bytes(b"\0\0")
    for x, y in zip(a.codes, b.codes, strict=True):
        product = sf.f16_mul(*(sf.Float16.from_bytes(int(v).to_bytes(2, "big")) for v in (x, y)))
        total = sf.f16_add(total, product)
    assert int(fp.dot(a, b).codes) == int.from_bytes(total.to_bytes(), "big")


def test_tf32_products_that_float32_rounds_wrongly():
    # number-formats: 1.4999943 * 2**-136 is nearest to 2**-136, but float32 first makes it a tie.
    a, b = fp.array([[1026 * 2.0**-78]], fp.TF32), fp.array([[1533 * 2.0**-78]], fp.TF32)
    assert (a @ b).tolist() == [[2.0**-136]]
    assert sequential.carrier_for(fp.TF32, fp.TF32, fp.TF32) == "float64"


def test_carriers_are_chosen_where_they_are_proven():
    chosen = {
        ("fp16", "fp16"): "float32",
        ("bf16", "bf16"): "float32",
        ("e4m3", "e4m3"): "float32",
        ("e4m3", "fp32"): "float32",
        ("fp32", "fp32"): "float32",
        ("fp32", "fp16"): "float64",
        ("tf32", "fp32"): "float32",
        ("fp64", "fp64"): "float64",
        ("fp64", "fp32"): None,
    }
    for (operands, accumulator), carrier in chosen.items():
        f = fp.as_format(operands)
        assert sequential.carrier_for(f, f, fp.as_format(accumulator)) == carrier


def test_fp32_products_into_fp16_are_not_rounded_to_float32_first():
    # (1 + 2**-12) * (1 + 2**-13) is above the FP16 midpoint region only by bits float32 drops.
    a = np.float32([[1 + 2**-11]])
    b = np.float32([[1 + 2**-23]])
    exact_product = (1 + 2**-11) * (1 + 2**-23)  # exact in float64, just above a tie
    assert fp.matmul(a, b, accumulate=fp.FP16, out=fp.FP16).tolist() == [[1 + 2**-10]]
    assert exact.round_to(exact_product, fp.FP16) == 1 + 2**-10


@pytest.mark.parametrize(
    ("name", "stop"), [("fp16", 2048), ("bf16", 256), ("tf32", 2048), ("e4m3", 16), ("e5m2", 8)]
)
def test_adding_ones_stops_at_two_to_the_precision(name, stop):
    ones = fp.array(np.ones(4096), name)
    assert fp.sum(ones).item() == stop
    assert fp.dot(ones, ones).item() == stop
    assert fp.sum(ones, accumulate=fp.FP32, out=fp.FP32).item() == 4096


def test_fp32_sum_of_ones_stops_at_16777216():
    assert fp.sum(np.ones(2**24 + 10, np.float32)).item() == 2**24


@given(
    values=st.lists(st.floats(width=16), max_size=30),
    name=st.sampled_from(["fp16", "bf16", "e5m2", "fp32", "fp64"]),
)
def test_sum_is_the_reference(values, name):
    x = np.array(values, np.float16)
    f = fp.as_format(name)
    assert same(fp.sum(x, accumulate=f, out=f), exact.total(x.astype(float).tolist(), f))


def test_sum_along_axes_and_of_nothing():
    x = fp.array(np.arange(24).reshape(2, 3, 4), fp.FP16)
    for axis in (0, 1, 2, -1):
        assert fp.sum(x, axis).tolist() == np.arange(24.0).reshape(2, 3, 4).sum(axis).tolist()
    assert same(fp.sum(fp.array([], fp.FP16)), 0.0)
    assert same(fp.sum(fp.array([-0.0], fp.FP16)), 0.0)
    assert fp.sum(np.empty((0, 3), np.float32), 0).tolist() == [0, 0, 0]
    assert x.sum(axis=1).shape == (2, 4)


def test_shapes_are_numpys():
    rng = np.random.default_rng(0)
    for sa, sb in [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((2, 1, 2, 3), (5, 3, 4)),
        ((2, 0), (0, 3)),
        ((0, 2, 3), (3, 1)),
    ]:
        a, b = (rng.integers(-3, 4, s).astype(np.float32) for s in (sa, sb))
        assert fp.matmul(a, b).tolist() == np.matmul(a, b).tolist()
        assert fp.matmul(a, b).shape == np.matmul(a, b).shape


def test_initial_accumulator_and_output_format():
    a = np.float16([[1, 2]])
    c = np.float16([[2048]])
    assert fp.matmul(a, a.T, c).tolist() == [[2052.0]]  # 2049 rounds to 2048, then + 4
    assert fp.matmul(a, a.T, np.float64([[0.1]]), out=fp.E5M2).tolist() == [[5.0]]
    wide = fp.matmul(a, a.T, accumulate=fp.FP32, out=fp.BF16)
    assert wide.format == fp.BF16
    stored = np.ascontiguousarray(np.float16([[1, 2], [3, 4], [5, 6]]))
    assert fp.matmul(stored.T, stored).tolist() == fp.matmul(stored.T.copy(), stored).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: fp.matmul(a, a), "must equal the last but one of b (2)"),
        (
            lambda a: fp.matmul(a, a.astype(np.float32)),
            "fp16 and fp32: operands must share a format",
        ),
        (lambda a: fp.matmul(a, 3.0), "at least one dimension"),
        (lambda a: fp.matmul(a, a.T, order="pairwiese"), "did you mean 'pairwise'? allowed: seq"),
        (lambda a: fp.matmul(a, a.T, product="exactly"), "unknown format 'exactly'"),
        (lambda a: fp.matmul(a, a.T, accumulate="fp17"), "unknown format 'fp17'"),
        (
            lambda a: fp.matmul(a, a.T, np.zeros(3)),
            "c must have the result's shape (2, 2), got (3,)",
        ),
        (lambda a: fp.sum(a, 2), "axis 2 is out of range for an array of 2 dimensions"),
        (lambda a: fp.sum(np.arange(3)), "dtype int64 has no format of its own"),
        (lambda a: fp.dot(np.zeros((2, 2, 2)), a), "dot takes 1-d and 2-d operands"),
        (lambda a: fp.matmul(np.zeros((2, 3, 3)), np.zeros((3, 3, 3))), "do not broadcast"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(fp.FpemuError) as caught:
        call(np.ones((2, 3), np.float16))
    assert message in str(caught.value)


@pytest.mark.parametrize("saturation", ["none", "finite", "propagate"])
def test_partial_sums_that_overflow_are_told_from_infinities(saturation):
    largest = fp.FP32.max
    rows = [[largest, largest, 1.0], [np.inf, 1.0, 1.0], [largest, largest, -largest]]
    for f in (fp.FP32, fp.BF16, fp.TF32):
        for row in rows:
            a = np.array([[max(min(v, f.max), -f.max) if np.isfinite(v) else v for v in row]])
            b = np.ones((3, 1))
            got = sequential.accumulate_products(
                a.astype(np.float32), b.astype(np.float32), (f, f, f), saturation=saturation
            )
            want = exact.dot(a[0].tolist(), b[:, 0].tolist(), f, saturation=saturation)
            assert same(got[0, 0], want), (f, row)
