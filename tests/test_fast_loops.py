"""The fast loops against the general ones, at the edges where they could differ; threads."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same

import fpemu as fp
from fpemu import accumulation, exact
from fpemu.accumulation import fast_loops, sequential, threads
from fpemu.accumulation.exact_sums import exact_in_float64
from fpemu.kernels import sequential as loops
from fpemu.rounding import SATURATION

FORMATS = [
    fp.as_format(n) for n in ("fp16", "bf16", "tf32", "fp32", "e4m3", "e5m2", "e4m3fnuz", "e3m4")
]
FORMATS += [fp.Format("fp22", 8, 13), fp.Format("dlfloat", 6, 9), fp.p3109(8, 4)]


def at_edges(rng, f: fp.Format, *shape: int, specials: bool) -> np.ndarray:
    """Values near zero, the smallest normal, one and the largest, of both signs."""
    count = int(np.prod(shape))
    bias = f._bias << f.fraction_bits
    edges = np.array([0, 1 << f.fraction_bits, bias, bias, bias, f.max_code])
    codes = rng.choice(edges, count) + rng.integers(-6, 7, count)
    codes = np.where(rng.random(count) < 0.4, rng.integers(0, f.max_code + 1, count), codes)
    values = fp.decode(np.clip(codes, 0, f.max_code), f) * rng.choice([-1.0, 1.0], count)
    if specials:
        values = np.where(rng.random(count) < 0.02, rng.choice([np.inf, np.nan], count), values)
    return fp.quantize(values, f).reshape(shape)


def general(a, b, f, start, saturation, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(fast_loops, "run", lambda *_: None)
        return sequential.accumulate_products(a, b, (f, f, f), start, saturation=saturation)


@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize("f", FORMATS, ids=str)
def test_fast_and_general_loops_agree(f, specials, monkeypatch):
    taken = 0
    for seed in range(12):
        rng = np.random.default_rng([seed, f.bits])
        a, b = (at_edges(rng, f, *shape, specials=specials) for shape in ((5, 23), (23, 19)))
        if seed % 3 == 0:  # without an overflow
            a, b = (fp.quantize(np.clip(v, -1, 1) * rng.random(v.shape), f) for v in (a, b))
        start = at_edges(rng, f, 5, 19, specials=specials) if seed % 2 else None
        for saturation in SATURATION:
            got = sequential.accumulate_products(a, b, (f, f, f), start, saturation=saturation)
            assert_same(got, general(a, b, f, start, saturation, monkeypatch), got)
            begin = np.zeros((5, 19), np.float32) if start is None else start
            carrier = sequential.carrier_for(f, f, f, saturation)
            taken += fast_loops.run(a, b, begin, (f, f, f), saturation, carrier) is not None
    assert taken or specials or f.name in ("fp22", "tf32")


@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.TF32, fp.E4M3, fp.FP32], ids=str)
def test_fast_loops_are_the_reference(f):
    rng = np.random.default_rng(7)
    a, b = (fp.quantize(rng.normal(size=s), f) for s in ((2, 40), (40, 3)))
    begin = np.zeros((2, 3), np.float32)
    carrier = sequential.carrier_for(f, f, f, "none")
    got = fast_loops.run(a, b, begin, (f, f, f), "none", carrier)
    want = [[exact.dot(row.tolist(), column.tolist(), f) for column in b.T] for row in a]
    assert_same(got, want, got)


def test_tf32_products_that_float32_would_round_take_the_other_road():
    a, b = (np.float32([[v * 2.0**-78]]) for v in (1026.0, 1533.0))
    formats = (fp.TF32,) * 3
    assert fast_loops.run(a, b, np.zeros((1, 1)), formats, "none", "float64") is None
    assert sequential.accumulate_products(a, b, formats) == 2.0**-136
    wide = np.float32([[1.0 + 2.0**-10]])
    assert fast_loops.run(wide, wide, np.zeros((1, 1)), formats, "none", "float64") is not None


def test_an_overflow_is_seen_wherever_it_happens():
    """In a product, in a partial sum that comes back, and by rounding up to it."""
    f = fp.E5M2
    for a, b in (
        ([57344.0, -57344.0], [2.0, 2.0]),
        ([57344.0, 57344.0, -57344.0], [1.0, 1.0, 1.0]),
        ([57344.0, 4096.0], [1.0, 1.0]),
    ):
        row, column = np.float32([a]), np.float32([b]).T
        begin = np.zeros((1, 1), np.float32)
        assert fast_loops.run(row, column, begin, (f, f, f), "none", "float32") is None
        want = exact.dot(a, b, f)
        assert_same(sequential.accumulate_products(row, column, (f, f, f)), [[want]], [0])


@pytest.mark.parametrize("name", ["fp16", "bf16", "e4m3", "fp32", "fp64"])
def test_any_number_of_threads_and_any_layout_give_the_same_bits(name, monkeypatch):
    f = fp.as_format(name)
    rng = np.random.default_rng(2)
    a, b = (fp.array(rng.normal(size=s), f) for s in ((7, 33), (33, 5)))
    want = fp.matmul(a, b).tolist()
    monkeypatch.setattr(threads, "_LEAST_WORK", 0)
    for count in (1, 2, 3, 16):
        monkeypatch.setattr(threads, "threads", lambda count=count: count)
        assert fp.matmul(a, b).tolist() == want
        assert fp.matmul(a.T.T, fp.array(np.asfortranarray(b.to_numpy()), f)).tolist() == want
    assert [fp.matmul(a[i : i + 1], b).tolist()[0] for i in range(7)] == want


def test_a_planted_bug_in_the_magic_is_caught(monkeypatch):
    """Without the clamp at the smallest normal, products among subnormals keep too many bits."""
    honest = loops.magic
    monkeypatch.setattr(loops, "magic", lambda a, b, c, tiny, s: honest(a, b, c, tiny / 16, s))
    with pytest.raises(AssertionError, match="differ"):
        test_fast_and_general_loops_agree(fp.E4M3, False, monkeypatch)


# -- exact sums ---------------------------------------------------------------------------------------------


@given(data=st.data(), scale=st.integers(-30, 30))
@settings(max_examples=100)
def test_float64_is_used_for_exact_sums_only_where_it_is_exact(data, scale):
    bits = data.draw(st.sampled_from([4, 11, 24, 30]))
    number = st.integers(-(2**bits), 2**bits)
    k = data.draw(st.integers(0, 6))
    a = np.array([[data.draw(number) for _ in range(k)]], np.float64).reshape(1, k) * 2.0**scale
    b = np.array([data.draw(number) for _ in range(k)], np.float64).reshape(k, 1)
    start = np.array([[data.draw(number) * 2.0**scale]], np.float64)
    got = exact_in_float64(a, b, start + 0.0)
    want = Fraction(start.item()) + sum(
        (Fraction(x) * Fraction(y) for x, y in zip(a[0].tolist(), b[:, 0].tolist(), strict=True)),
        Fraction(0),
    )
    if got is not None:
        assert Fraction(got.item()) == want
    else:
        assert bits > 11


def test_exact_products_of_e4m3_are_fast_and_right():
    rng = np.random.default_rng(0)
    a, b = (fp.quantize(rng.normal(size=(60, 60)) * 8, "e4m3") for _ in "ab")
    assert exact_in_float64(a, b, np.zeros((60, 60))) is not None
    got = fp.matmul(fp.array(a, "e4m3"), fp.array(b, "e4m3"), order="exact", out="fp32").to_numpy()
    i, j = 17, 42
    total = sum(Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[i], b[:, j], strict=True))
    assert got[i, j] == exact.round_to(exact.round_to(total, fp.E4M3), fp.FP32)
    wide = accumulation.Accumulator("fp32", "exact")
    got = fp.matmul(fp.array(a, "e4m3"), fp.array(b, "e4m3"), accumulate=wide, out="fp32")
    assert got.to_numpy()[i, j] == exact.round_to(total, fp.FP32)


@pytest.mark.skipif(not fast_loops.has_half_conversion(), reason="the processor has no F16C")
def test_both_loops_for_half_precision_agree_down_to_the_smallest_numbers():
    rng = np.random.default_rng(8)
    target = fast_loops.target_of(fp.FP16, "none", carrier="float32")
    for low, high in ((-24, -10), (-14, -4), (-8, 2), (-2, 3)):
        integers = rng.integers(-2047, 2048, (2, 40, 40))
        values = np.ldexp(integers.astype(float), rng.integers(low, high, (2, 40, 40)) - 10)
        a, b = fp.quantize(values, fp.FP16)
        assert np.abs(a).max() * np.abs(b).max() <= fp.FP16.max
        want, got = np.zeros((2, 40, 40), np.float32)
        loops.half(a, b, want)
        loops.half_sums(a, b, got, target.tiny, np.float32(1.5 * 2.0**target.dropped))
        assert (got.view(np.int32) == want.view(np.int32)).all()
    for values in ([1.5, -3.0], [np.inf, 1.0], [-1.0, np.nan]):
        bits = np.float32(max(abs(v) for v in values) if np.nan not in values else np.nan)
        assert loops.largest_bits(np.float32(values)) == bits.view(np.int32)
