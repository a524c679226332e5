"""The fast road against the general one: where rounding twice is innocent, and where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import exact, fused, residual
from fpemu.convert import round_to
from fpemu.formats import NAMED
from fpemu.rounding import SATURATION

FAST = [f for f in NAMED.values() if fused.carrier_for("add", f, "none")]
OWN = [fp.Format("e8m2", 8, 2), fp.Format("e7m9", 7, 9), fp.Format("g25", 8, 24, bias=100)]


def general(op, *operands, f, saturation="none"):
    with np.errstate(all="ignore"):
        source, _ = residual.odd(op, *(np.asarray(v, np.float64) for v in operands))
    return round_to(source, f, saturation, count=False)


def test_which_formats_take_the_fast_road():
    assert {f.name for f in FAST} >= {"fp32", "tf32", "fp16", "bf16", "e4m3", "e5m2", "e4m3fnuz"}
    assert fused.carrier_for("multiply", fp.TF32, "none") == "float64"
    assert fused.carrier_for("divide", fp.TF32, "none") == "float64"
    assert fused.carrier_for("add", fp.BF16, "propagate") == "float64"
    assert fused.carrier_for("multiply", fp.FP16, "propagate") == "float32"
    assert fused.carrier_for("add", fp.FP64, "none") is None
    assert fused.carrier_for("add", fp.E8M0, "none") is None


def near_edges(rng, f: fp.Format, count: int) -> np.ndarray:
    edges = np.array([0, 1 << f.fraction_bits, f.max_code, f._bias << f.fraction_bits])
    near = rng.choice(edges, count) + rng.integers(-3, 4, count)
    codes = np.where(rng.random(count) < 0.5, near, rng.integers(0, f.max_code + 1, count))
    values = fp.decode(np.clip(codes, 0, f.max_code + 1), f)
    return values * rng.choice([-1.0, 1.0], count).astype(values.dtype)


@pytest.mark.parametrize("op", fused.OPERATIONS)
@pytest.mark.parametrize("f", [*FAST, *OWN], ids=str)
def test_both_roads_lead_to_the_same_place(f, op):
    rng = np.random.default_rng(len(op))
    a, b = near_edges(rng, f, 40_000), near_edges(rng, f, 40_000)
    operands = (abs(a),) if op == "sqrt" else (a, b)
    for saturation in SATURATION:
        got = fused.apply(op, operands, f, saturation)
        assert_same(got, general(op, *operands, f=f, saturation=saturation), a)


@pytest.mark.parametrize("op", ["multiply", "divide"])
def test_every_pair_of_significands_of_bf16_at_the_lower_end(op):
    """Where float32 underflows together with BF16."""
    significands = (128 + np.arange(128)) / 128
    a, b = (v.ravel() for v in np.meshgrid(significands, significands))
    for exponent in range(-138, -122):
        x, y = np.ldexp(a, -60), np.ldexp(b, exponent + 60)
        if op == "divide":
            y = np.ldexp(b, -60 - exponent)
        got = fused.apply(op, (x.astype(np.float32), y.astype(np.float32)), fp.BF16, "none")
        assert_same(got, general(op, x, y, f=fp.BF16), x)


@given(
    a=st.floats(width=32),
    b=st.floats(width=32),
    op=st.sampled_from(["add", "subtract", "multiply", "divide"]),
    name=st.sampled_from(["fp32", "tf32", "bf16", "fp16"]),
)
def test_the_fast_road_agrees_with_the_reference(a, b, op, name):
    f = fp.as_format(name)
    x, y = (fp.quantize(np.float32([v]), f) for v in (a, b))
    want = exact.compute(op, float(x[0]), float(y[0]), f=f)
    assert same(fused.apply(op, (x, y), f, "none")[0], want)


def test_broadcasting_and_odd_layouts():
    x = fp.array(np.arange(12.0).reshape(3, 4), "fp16")
    assert (x.T + fp.array([1.0, 2.0, 3.0], "fp16")).tolist() == (
        x.to_numpy().T + np.array([1.0, 2.0, 3.0])
    ).tolist()
    assert (x[::2, ::-1] * 2).tolist() == (x.to_numpy()[::2, ::-1] * 2).tolist()
    assert (x[:0] + 1).shape == (0, 4)
    assert np.sqrt(fp.array(4.0, "fp16")).shape == ()


def test_a_carrier_too_narrow_is_caught(monkeypatch):
    """TF32 products in float32 underflow wrongly: 1.4999943 * 2**-136 would go up."""
    operands = (np.float32([1026 * 2.0**-78]), np.float32([1533 * 2.0**-78]))
    assert fused.apply("multiply", operands, fp.TF32, "none")[0] == 2.0**-136
    monkeypatch.setattr(fused, "carrier_for", lambda *_: "float32")
    assert fused.apply("multiply", operands, fp.TF32, "none")[0] == 2.0**-135
    with pytest.raises(AssertionError, match="differ"):
        test_both_roads_lead_to_the_same_place(fp.TF32, "multiply")
