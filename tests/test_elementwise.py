"""Every operation in every deterministic mode against the exact reference, and known traps."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import softfloatpy as sf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import elementwise, exact
from fpemu.formats import NAMED
from fpemu.rounding import ROUNDING

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
ARITY = {"add": 2, "subtract": 2, "multiply": 2, "divide": 2, "sqrt": 1, "fma": 3}
FORMATS = [f for f in NAMED.values() if f.has_nan]


@st.composite
def operands(draw, f: fp.Format, count: int) -> list[float]:
    """Values of f: any code, or near the first one's exponent, for ties and cancellation."""
    codes = st.integers(0, (1 << f.bits) - 1)
    first = draw(codes)
    found = [exact.decode(first, f)]
    while len(found) < count:
        near = draw(st.integers(-40, 40)) * draw(st.sampled_from([1, 1 << f.fraction_bits]))
        code = draw(st.sampled_from([(first + near) % (1 << f.bits), draw(codes)]))
        found.append(exact.decode(code, f) * draw(st.sampled_from([1, -1])))
    return [0.0 if v == 0 and not f.has_negative_zero else v for v in found]


@pytest.mark.parametrize("op", ARITY)
@settings(max_examples=400)
@given(data=st.data())
def test_every_mode_gives_the_exact_result_rounded_once(op, data):
    f = data.draw(st.sampled_from(FORMATS))
    mode = data.draw(st.sampled_from(MODES))
    saturation = data.draw(st.sampled_from(["none", "finite", "propagate"]))
    values = data.draw(operands(f, ARITY[op]))
    arrays = [np.array([v]) for v in values]
    got = elementwise.apply(op, *arrays, f=f, rounding=mode, saturation=saturation)
    want = getattr(exact, op)(*values, f, rounding=mode, saturation=saturation)
    assert same(got, want), (f, mode, values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", ["add", "multiply", "divide"])
def test_every_pair_of_e5m2_in_every_mode(op, mode):
    every = fp.decode(np.arange(0, 256, 3), fp.E5M2)
    a, b = (v.reshape(-1) for v in np.meshgrid(every, every))
    judge = getattr(exact, op)
    want = [
        judge(x, y, fp.E5M2, rounding=mode) for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert_same(elementwise.apply(op, a, b, f=fp.E5M2, rounding=mode), want, a)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_fp16_fma_agrees_with_softfloat(a, b, c):
    x, y, z = (sf.Float16.from_bytes(v.to_bytes(2, "big")) for v in (a, b, c))
    want = exact.decode(int.from_bytes(sf.f16_mul_add(x, y, z).to_bytes(), "big"), fp.FP16)
    got = fp.fma(*(fp.array(fp.decode(v, fp.FP16), fp.FP16) for v in (a, b, c)))
    assert same(got, want)


@given(st.floats(width=32), st.floats(width=32), st.floats(width=32))
@example(4097.0, 4097.0, 2.0**-30)
def test_fp32_fma_agrees_with_softfloat(a, b, c):
    x, y, z = (sf.Float32.from_bytes(np.float32(v).tobytes()[::-1]) for v in (a, b, c))
    want = np.frombuffer(sf.f32_mul_add(x, y, z).to_bytes()[::-1], np.float32)[0]
    got = fp.fma(*(fp.array(v, fp.FP32) for v in (a, b, c)))
    assert same(got, float(want)) or (np.isnan(want) and np.isnan(got))


# number-formats: cases in which a carrier without the residual gives other bits.
TRAPS = [
    (
        "fp16",
        "fma",
        (-1.6787109375, 0.0005817413330078125, -3.4765625),
        "nearest_even",
        -3.478515625,
    ),
    ("bf16", "fma", (7.0, 37.0, -(2.0**-100)), "nearest_even", 258.0),
    ("fp32", "fma", (4097.0, 4097.0, 2.0**-30), "nearest_even", 16785410.0),
    ("e5m2", "fma", (192.0, 192.0, 2.0**-16), "nearest_even", 40960.0),
    ("bf16", "add", (1.0, 2.0**-100), "toward_positive", 1.0078125),
    ("bf16", "add", (1.0, -(2.0**-100)), "toward_zero", 0.99609375),
    ("fp32", "add", (1.0, 2.0**-100), "toward_positive", 1 + 2.0**-23),
    ("fp16", "fma", (32768.0, 1.0, 2.0**-24), "toward_positive", 32800.0),
    ("tf32", "multiply", (1026 * 2.0**-78, 1533 * 2.0**-78), "nearest_even", 2.0**-136),
    ("fp16", "add", (1.0, -1.0), "toward_negative", -0.0),
    ("fp16", "divide", (1.0, 3.0), "toward_positive", 0.33349609375),
    ("fp16", "divide", (1.0, 3.0), "toward_negative", 0.333251953125),
]


@pytest.mark.parametrize(("name", "op", "values", "mode", "want"), TRAPS)
def test_traps_of_double_rounding(name, op, values, mode, want):
    f = fp.as_format(name)
    for v in values:
        assert exact.round_to(v, f) == v
    got = elementwise.apply(op, *map(np.float64, values), f=f, rounding=mode)
    assert same(got, want)
    assert same(getattr(exact, op)(*values, f, rounding=mode), want)


@given(st.floats(width=32), st.floats(width=32))
def test_quotients_in_fp32_are_the_processors(a, b):
    with np.errstate(all="ignore"):
        want = np.float32(a) / np.float32(b)
    assert same(fp.array(a, fp.FP32) / fp.array(b, fp.FP32), want)


def test_fma_of_fractions_is_the_definition():
    f = fp.BF16
    for a, b, c in [(0.1, 0.3, -0.03), (1e20, 1e20, -1e38), (3.0, -7.0, 21.0)]:
        x, y, z = (exact.round_to(v, f) for v in (a, b, c))
        total = Fraction(x) * Fraction(y) + Fraction(z)
        assert fp.fma(*(fp.array(v, f) for v in (x, y, z))).item() == exact.round_to(total, f)
    assert math.isnan(fp.fma(fp.array(math.inf, f), 0.0, math.nan).item())
    assert math.isnan(fp.fma(fp.array(math.inf, f), 0.0, 1.0).item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fp.fma(x, x, x.astype("bf16")), "fma of fp16 and bf16"),
        (lambda x: fp.fma(1.0, 2.0, 3.0), "fma needs an Array among its operands"),
        (lambda x: fp.fma(x, x, [1.0, 2.0, 3.0]), "do not broadcast"),
        (lambda x: fp.fma(x, x, x, rounding="up"), "unknown rounding 'up'"),
        (lambda x: fp.compute("plus", x, x), "unknown operation 'plus'"),
    ],
)
def test_bad_fma_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call(fp.array([1.0, 2.0], "fp16"))
    assert message in str(caught.value)
