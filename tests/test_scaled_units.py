"""Block-scaled products of Blackwell against the exact reference, and cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.exact.scaled_units import scaled_unit
from fpemu.matrix_units import matrix_unit
from fpemu.matrix_units.scaled import multiply_scaled, scaled_instruction
from fpemu.verify.units import KINDS, random_codes

CASES = [
    ("e4m3", "e4m3", "e8m0", 32),
    ("e5m2", "e4m3", "e8m0", 32),
    ("e2m3", "e3m2", "e8m0", 32),
    ("e2m1", "e5m2", "e8m0", 32),
    ("e2m1", "e2m1", "e8m0", 32),
    ("e2m1", "e2m1", "e8m0", 16),
    ("e2m1", "e2m1", "e4m3", 16),
]


def values(rng, f, shape, kind):
    return decode(random_codes(rng, f, shape, kind).astype(code_dtype(f)), f)


def scales(rng, f, shape, kind):
    """Any scales, or for most kinds such that do not differ too much."""
    low, high = (0, 1 << f.bits) if kind in ("any", "specials") else (120, 134)
    if f == fp.E4M3:
        low, high = (0, 128) if kind in ("any", "specials") else (0, 127)
    return decode(rng.integers(low, high, shape).astype(np.uint8), f)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_exact_reference(case):
    a_format, b_format, scale, block = case
    made = scaled_instruction(
        matrix_unit("b200", "tcgen05"), a_format, b_format, scale=scale, block=block
    )
    rng = np.random.default_rng(0)
    for kind in (k for k in KINDS if k != "floor"):
        k = 2 * made.length - block
        a, b = values(rng, made.a, (4, k), kind), values(rng, made.b, (k, 3), kind)
        left, right = (scales(rng, made.scale, s, kind) for s in ((4, k // block), (k // block, 3)))
        c = values(rng, fp.FP32, (4, 3), kind)
        got = multiply_scaled(a, b, left, right, made, c)
        for i, j in np.ndindex(got.shape):
            lists = [v.tolist() for v in (a[i], b[:, j], left[i], right[:, j])]
            want = float(scaled_unit(*lists, c[i, j].item(), made))
            np.testing.assert_array_equal(got[i, j], np.float32(want))
            assert np.isnan(want) or np.signbit(got[i, j]) == np.signbit(want)


def test_by_hand():
    """Scale exponents join before the alignment: what would be cut off is kept, and the other way round."""
    ones, small = np.ones((1, 32)), np.full((1, 32), 2.0**-6)
    a = fp.array(np.concatenate([ones, small], 1), "e4m3")
    b = fp.array(np.concatenate([ones, ones], 1).T, "e4m3")
    left, right = fp.array([[2.0**10, 2.0**-12]], "e8m0"), fp.array([[1.0], [1.0]], "e8m0")
    assert fp.scaled_matmul(a, b, left, right).tolist() == [
        [2.0**15]
    ]  # 2^-13 is below 2^-10, FP32's place
    left = fp.array([[2.0**-12, 2.0**-6]], "e8m0")
    assert fp.scaled_matmul(a, b, left, right).tolist() == [[2.0**-7 + 2.0**-7]]
    assert np.isnan(fp.scaled_matmul(a, b, fp.array([[np.nan, 1]], "e8m0"), right).item())


def test_nvfp4_groups_keep_35_bits():
    """Two groups that cancel leave what only more than FP32's bits could keep."""
    a = fp.array([[4.0, *[0.0] * 15, 4.0, *[0.0] * 15, 1.0, *[0.0] * 31]], "e2m1")
    b = fp.array([[4.0, *[0.0] * 15, -4.0, *[0.0] * 15, 1.0, *[0.0] * 31]], "e2m1").T
    left = fp.array([[256.0, 256.0, 2.0**-6, 1.0]], "e4m3")
    right = fp.array([[256.0, 256.0, 2.0**-6, 1.0]], "e4m3").T
    assert fp.scaled_matmul(a, b, left, right).tolist() == [[2.0**-12]]


def test_what_there_is_not():
    x = fp.array(np.ones((2, 64)), "e4m3")
    one = fp.array(np.ones((2, 2)), "e8m0")
    with pytest.raises(fp.UnsupportedError, match="takes no blocks of 16"):
        fp.scaled_matmul(
            x, x.T, fp.array(np.ones((2, 4)), "e8m0"), fp.array(np.ones((4, 2)), "e8m0")
        )
    with pytest.raises(fp.UnsupportedError, match="takes no scales"):
        fp.scaled_matmul(x, x.T, one, one, unit="h100 wgmma")
    with pytest.raises(fp.ArgumentError, match="share a format"):
        fp.scaled_matmul(x, x.T, one, one.astype("e4m3"))
    with pytest.raises(fp.ArgumentError, match="take scales of shapes"):
        fp.scaled_matmul(x, x.T, one, fp.array(np.ones((1, 2)), "e8m0"))
