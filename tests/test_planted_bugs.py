"""Tests of the tests: realistic wrong rounding steps and gradients, each of which must be caught.

Each planted bug is a whole `quantize` with one mistake that a real library made; the check is
the one that test_quantize applies to the kernels.
"""

from __future__ import annotations

import numpy as np
import pytest
from oracles import SPECIALS, assert_same, finite_values, midpoints, mpfr_quantize

import fpemu as fp
from fpemu import nn
from fpemu.kernels import step
from fpemu.rounding import ROUNDING, SUBNORMALS


def right(x: np.ndarray, f: fp.Format, *, tie=None, tiny=None, limit=None) -> np.ndarray:
    """Rounding by scaling to integers, with places to plant bugs."""
    magnitude = np.abs(x)
    _, e = np.frexp(np.where((magnitude > 0) & np.isfinite(magnitude), magnitude, 1.0))
    e = np.maximum(e - 1, f.emin if tiny is None else tiny)
    unit = np.ldexp(1.0, e - f.fraction_bits)
    with np.errstate(all="ignore"):
        steps = np.clip(magnitude / unit, None, 2.0**60)
        result = (np.rint if tie is None else tie)(steps) * unit
        over = result > f.max if limit is None else limit(magnitude, result)
    result = np.where(over | np.isinf(x), np.inf if f.has_inf else np.nan, result)
    return np.where(np.isnan(x), np.nan, np.copysign(result, x))


def ties_away(x, f):
    return right(x, f, tie=lambda s: np.floor(s + 0.5))


def truncates(x, f):
    return right(x, f, tie=np.floor)


def drops_the_sticky_bit(x, f):
    """Keeps two guard bits of what is cut off, so that a little over half looks like half."""
    return right(x, f, tie=lambda s: np.rint(np.floor(s * 4) / 4))


def goes_through_float32(x, f):
    with np.errstate(all="ignore"):
        return right(x.astype(np.float32).astype(np.float64), f)


def rounds_subnormals_twice(x, f):
    """To full precision first, then to the subnormal grid."""
    return right(right(x, f, tiny=-1022), f)


def seam_is_one_binade_off(x, f):
    return right(x, f, tiny=f.emin + 1)


def flushes_subnormals(x, f):
    result = right(x, f)
    return np.where(np.abs(result) < f.smallest_normal, np.copysign(0.0, x), result)


def compares_the_input_with_the_maximum(x, f):
    return right(x, f, limit=lambda magnitude, _: magnitude > f.max)


def overflows_at_the_next_power_of_two(x, f):
    return right(x, f, limit=lambda _, result: result >= 2.0 ** (f.emax + 1))


def loses_the_sign_of_zero(x, f):
    return right(x, f) + 0.0


def makes_nan_of_infinity(x, f):
    return np.where(np.isinf(x), np.nan, right(x, f))


def makes_zero_of_nan(x, f):
    return np.where(np.isnan(x), -0.0, right(x, f))


PLANTED = [
    *(ties_away, truncates, drops_the_sticky_bit, goes_through_float32, rounds_subnormals_twice),
    *(seam_is_one_binade_off, flushes_subnormals, compares_the_input_with_the_maximum),
    *(overflows_at_the_next_power_of_two, loses_the_sign_of_zero, makes_nan_of_infinity),
    makes_zero_of_nan,
]


def check(quantize, f: fp.Format) -> None:
    points = np.concatenate([midpoints(f), finite_values(f), SPECIALS])
    assert_same(quantize(points, f), mpfr_quantize(points, f), points)


@pytest.mark.parametrize("f", [fp.FP16, fp.E5M2, fp.BF16, fp.E4M3], ids=str)
def test_the_check_passes_what_is_right(f):
    check(right, f)
    check(fp.quantize, f)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.__name__)
def test_the_check_catches_every_planted_bug(bug):
    # E4M3's largest value is not the last of its binade, so there the power of two is wrong.
    f = fp.E4M3 if bug is overflows_at_the_next_power_of_two else fp.FP16
    with pytest.raises(AssertionError, match="differ"):
        check(bug, f)


@pytest.mark.parametrize(
    "field",
    ["dropped", "emin", "emax", "largest", "overflow", "infinity", "minus_zero", "kind"],
)
def test_the_check_catches_every_wrong_parameter_of_the_kernels_step(field, monkeypatch):
    from fpemu import convert

    honest = convert.target_of

    def wrong(f, saturation, **options):
        target = honest(f, saturation, **options)
        value = {
            "dropped": target.dropped + 1,
            "emin": target.emin + 1,
            "emax": target.emax - 1,
            "largest": f.max / 2,
            "overflow": f.max,
            "infinity": f.max,
            "minus_zero": False,
            "kind": step.NATIVE64,
        }[field]
        return target._replace(**{field: value})

    monkeypatch.setattr(convert, "target_of", wrong)
    with pytest.raises(AssertionError, match="differ"):
        check(fp.quantize, fp.FP16)


@pytest.mark.parametrize("road", ["fast", "general"])
def test_a_product_accumulated_wider_than_it_says_is_caught(road, monkeypatch):
    """What most emulation libraries do: compute in float32, round once at the end."""
    from test_linalg import test_larger_products_agree_with_the_reference as check_products

    from fpemu.accumulation import fast_loops
    from fpemu.kernels import matmul

    def wide(a, b, c, target):
        c[:] = fp.quantize(c + a @ b, fp.FP16)

    check_products("fp16")
    if road == "fast":
        monkeypatch.setattr(fast_loops, "run", lambda a, b, c, *_: fp.quantize(c + a @ b, fp.FP16))
    else:
        monkeypatch.setattr(fast_loops, "run", lambda *_: None)
        check_products("fp16")
        monkeypatch.setattr(matmul, "matmul32", wide)
    with pytest.raises(AssertionError, match="differ"):
        check_products("fp16")


def test_weights_left_in_fp32_under_a_bf16_policy_are_caught(monkeypatch):
    """A policy that silently keeps FP32 weights absorbs no update."""
    import test_training

    check = test_training.test_bf16_weights_stall_at_a_small_learning_rate_and_masters_cure_it
    monkeypatch.setattr(nn.Module, "store_in", lambda self, f, **options: None)
    with pytest.raises(AssertionError):
        check()


# -- bugs planted in the operations, each with the check of another file that must see it ---------


def plain_result(monkeypatch):
    """The float64 result rounded again, in whatever mode: what a library without residuals does."""
    from fpemu import residual

    def not_odd(op, *operands):
        result = np.asarray(residual.NUMPY[op](*operands))
        return result, np.zeros(result.shape, bool)

    monkeypatch.setattr(residual, "odd", not_odd)


def sign_of_a_zero_sum(monkeypatch):
    from fpemu import residual

    monkeypatch.setattr(
        residual, "minus_zero_of_cancellation", lambda op, source, *operands: source
    )


def ties_away_in_the_kernels(monkeypatch):
    from fpemu import convert

    honest = convert._mode
    away = {"nearest_even": "nearest_away"}
    monkeypatch.setattr(
        convert, "_mode", lambda f, mode, subnormals: honest(f, away.get(mode, mode), subnormals)
    )


def quotient_by_the_reciprocal(monkeypatch):
    from fpemu import fused

    def multiply(op, operands, f, saturation):
        with np.errstate(all="ignore"):
            x, y = (v.astype(np.float32) for v in operands)
            return fp.quantize(x * (np.float32(1) / y), f)

    monkeypatch.setattr(fused, "apply", multiply)


def saturation_before_the_operation_is_known_invalid(monkeypatch):
    """0/0 saturated to the largest value: a mask laid over what is no overflow."""
    from fpemu import elementwise

    honest = elementwise.apply

    def masked(op, *operands, f, saturation="none", **settings):
        out = honest(op, *operands, f=f, saturation=saturation, **settings)
        return np.where(np.isnan(out), f.max, out) if saturation == "finite" else out

    monkeypatch.setattr(elementwise, "apply", masked)


def overflow_goes_up_in_every_directed_mode(monkeypatch):
    from fpemu import exact
    from fpemu.carriers import target_of

    monkeypatch.setattr(exact, "overflow_of", lambda f, *_: exact.infinity_of(f, "none"))
    target_of.cache_clear()


def tininess_always_before_rounding(monkeypatch):
    from fpemu import convert

    monkeypatch.setattr(convert, "normal_edge", lambda f, *_, **__: f.smallest_normal)


def no_divide_by_zero(monkeypatch):
    from fpemu import elementwise

    honest = elementwise._with_signals

    def silent(op, wide, source, seen):
        found = honest(op, wide, source, seen)
        return {**found, "divide_by_zero": np.zeros_like(found["invalid"])}

    monkeypatch.setattr(elementwise, "_with_signals", silent)


def pairs_in_every_mode(op, f=fp.E4M3):
    import test_exhaustive

    return lambda: test_exhaustive.test_every_pair_in_every_mode_and_saturation(f, op)


def softfloat(prefix, op, mode="nearest_even"):
    import test_operations

    return lambda: test_operations.test_values_and_flags_are_softfloats(prefix, op, mode, None)


def flags_at_the_seam():
    """Products of E5M2 around its smallest normal number, 2**-14."""
    from fpemu import elementwise, exact

    significands = np.array([1.0, 1.25, 1.5, 1.75])
    a, b = (v.ravel() for v in np.meshgrid(significands * 2.0**-7, significands * 2.0**-8))
    for tininess in exact.TININESS:
        got = elementwise.flags_of("multiply", a, b, f=fp.E5M2, tininess=tininess)
        for x, y, bits in zip(a.tolist(), b.tolist(), got, strict=True):
            want = exact.flags_of_operation("multiply", x, y, f=fp.E5M2, tininess=tininess)
            assert bool(bits & 2) == ("underflow" in want), (x, y, tininess)


OPERATION_BUGS = [
    (plain_result, softfloat("f32", "add", "toward_positive")),
    (plain_result, softfloat("f32", "fma")),
    (sign_of_a_zero_sum, pairs_in_every_mode("add")),
    (ties_away_in_the_kernels, lambda: check(fp.quantize, fp.FP16)),
    (quotient_by_the_reciprocal, softfloat("f32", "divide")),
    (saturation_before_the_operation_is_known_invalid, pairs_in_every_mode("divide", fp.E5M2)),
    (overflow_goes_up_in_every_directed_mode, pairs_in_every_mode("multiply", fp.E5M2)),
    (tininess_always_before_rounding, flags_at_the_seam),
    (no_divide_by_zero, softfloat("f16", "divide")),
]


@pytest.fixture
def clean_targets():
    """No kernel may be left with a target made under a planted bug, nor SoftFloat in a mode."""
    import softfloatpy as sf

    from fpemu.carriers import target_of

    target_of.cache_clear()
    yield
    target_of.cache_clear()
    sf.set_rounding_mode(sf.RoundingMode.NEAR_EVEN)
    sf.set_tininess_mode(sf.TininessMode.AFTER_ROUNDING)


@pytest.mark.parametrize(
    ("plant", "check"), OPERATION_BUGS, ids=lambda value: getattr(value, "__name__", "")
)
def test_bugs_in_operations_are_caught(plant, check, monkeypatch, clean_targets):
    check()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def test_a_nan_that_wraps_is_caught():
    """0x7FFFFFFF and half a place more is minus zero, if nobody looks for NaN first."""
    bits = np.array([0x7FFFFFFF, 0x7F800001, 0xFFFFFFFF, 0x7FC00000], np.uint32)
    x = bits.view(np.float32)
    wrapped = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype("u4")
    assert not np.isnan(wrapped.view(np.float32)).all()
    rng = np.random.default_rng(0)
    payloads = rng.integers(0x7F800001, 0x80000000, 500, dtype=np.uint32)
    x = np.concatenate([x, payloads.view(np.float32), -payloads.view(np.float32)])
    for f in (fp.FP32, fp.BF16, fp.TF32, fp.FP16, fp.E4M3, fp.E5M2, fp.E4M3FNUZ, fp.E8M0):
        for mode in ROUNDING:
            for subnormals in SUBNORMALS:
                codes = fp.encode(x, f, rounding=mode, subnormals=subnormals)
                assert (codes == f.nan_code).all(), (f, mode, subnormals)
