"""exp and log: the float64 kernels against MPFR, and what training reads after rounding."""

from __future__ import annotations

import gmpy2
import numpy as np
import pytest

import fpemu as fp
from fpemu.elementwise import apply

MPFR = {"exp": gmpy2.exp, "log": gmpy2.log}


def arguments(op: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    near_one = 1 + rng.uniform(-1e-3, 1e-3, 4000)
    if op == "log":
        return np.concatenate([np.exp(rng.uniform(-740, 700, 6000)), near_one, [5e-324, 1.0]])
    tiny = np.exp(rng.uniform(-40, 0, 4000))
    return np.concatenate([rng.uniform(-708, 709, 6000), near_one, tiny, -tiny, [0.0, -0.0]])


@pytest.mark.parametrize("op", MPFR)
def test_float64_results_are_within_one_ulp(op):
    x = arguments(op)
    got = apply(op, x, f=fp.FP64)
    worst = 0.0
    with gmpy2.context(precision=160):
        for argument, value in zip(x.tolist(), got.tolist(), strict=True):
            want = MPFR[op](gmpy2.mpfr(argument))
            ulp = np.spacing(abs(float(want))) if want else 5e-324
            worst = max(worst, abs(float((gmpy2.mpfr(value) - want) / ulp)))
    assert worst < 1.0, worst


@pytest.mark.parametrize("op", MPFR)
@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E4M3, fp.E5M2], ids=str)
def test_results_for_every_16_and_8_bit_code_are_correctly_rounded(op, f):
    x = fp.decode(np.arange(1 << f.bits), f)
    x = x[np.isfinite(x) & ((x > 0) if op == "log" else True)]
    got = apply(op, x, f=f)
    with gmpy2.context(precision=200):
        exact_ish = [MPFR[op](gmpy2.mpfr(float(v))) for v in x]
    for argument, value, want in zip(x, got, exact_ish, strict=True):
        context = gmpy2.context(
            precision=f.precision,
            emin=f.emin - f.fraction_bits + 1,
            emax=100_000,
            subnormalize=True,
        )
        with context:
            rounded = float(gmpy2.mpfr(want))
        if rounded > f.max:
            rounded = np.inf if f.has_inf else np.nan
        assert value == rounded or (np.isnan(value) and np.isnan(rounded)), (argument, value)


def test_special_arguments():
    inf, nan = np.inf, np.nan
    got = apply("exp", np.array([-inf, inf, nan, 1000.0, -1000.0]), f=fp.FP32)
    assert np.array_equal(got, [0, inf, nan, inf, 0], equal_nan=True)
    got = apply("log", np.array([0.0, -0.0, inf, -1.0, nan]), f=fp.FP32)
    assert np.array_equal(got, [-inf, -inf, inf, nan, nan], equal_nan=True)
