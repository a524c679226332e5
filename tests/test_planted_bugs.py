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


def test_a_product_accumulated_wider_than_it_says_is_caught(monkeypatch):
    """What most emulation libraries do: compute in float32, round once at the end."""
    from test_linalg import test_larger_products_agree_with_the_reference as check_products

    from fpemu.kernels import matmul

    def wide(a, b, c, target, counts):
        c[:] = fp.quantize(c + a @ b, fp.FP16)

    check_products("fp16")
    monkeypatch.setattr(matmul, "matmul32", wide)
    with pytest.raises(AssertionError, match="differ"):
        check_products("fp16")


def test_weights_left_in_fp32_under_a_bf16_policy_are_caught(monkeypatch):
    """A policy that silently keeps FP32 weights absorbs no update."""
    import test_training

    check = test_training.test_bf16_weights_stall_at_a_small_learning_rate_and_masters_cure_it
    monkeypatch.setattr(nn.Module, "store_in", lambda self, f: None)
    with pytest.raises(AssertionError):
        check()
