"""`fp.gemm`: main loop, then the epilogue, each step rounded once."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp


def operands(f="fp16"):
    rng = np.random.default_rng(0)
    shapes = ((5, 200), (200, 4), (5, 4))
    return [fp.array(rng.normal(size=shape), f) for shape in shapes]


@pytest.mark.parametrize("unit", ["h100 wgmma", "h100 wgmma split=2", "a100"])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.3, 0.0), (1.0, 1.0), (0.3, -0.7)])
def test_the_epilogue_in_float32_by_hand(unit, alpha, beta):
    a, b, c = operands()
    got = fp.gemm(a, b, c, alpha=alpha, beta=beta, accumulate=unit)
    total = fp.matmul(a, b, accumulate=unit).to_numpy()
    want = total * np.float32(alpha) + c.to_numpy() * np.float32(beta)
    assert want.dtype == np.float32
    assert got.format == fp.FP16
    assert got.tolist() == want.astype(np.float16).tolist()


def test_c_is_not_looked_at_without_beta():
    a, b, c = operands()
    spoilt = fp.array(np.full(c.shape, np.nan), "fp16")
    assert fp.gemm(a, b, spoilt).tolist() == fp.gemm(a, b).tolist()


def test_no_arithmetic_changes_a_bit():
    a, b, c = operands()
    plain = fp.gemm(a, b, c, alpha=0.3, beta=0.7)
    with fp.arithmetic(rounding="toward_zero"):
        assert fp.gemm(a, b, c, alpha=0.3, beta=0.7).tolist() == plain.tolist()


def test_what_does_not_fit():
    a, b, c = operands()
    with pytest.raises(fp.ArgumentError, match="needs c"):
        fp.gemm(a, b, beta=1.0)
    with pytest.raises(fp.ArgumentError, match="the result's shape"):
        fp.gemm(a, b, c[:2], beta=1.0)
