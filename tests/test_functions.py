"""exp, log, sin and their kin: every 16-bit and 8-bit code in every mode against MPFR."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import gmpy2
import numpy as np
import pytest
from grid_judge import Odd, place
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import elementwise, exact, functions
from fpemu.chance import Chance
from fpemu.flags import Flag
from fpemu.rounding import ROUNDING

MODES = [mode for mode in ROUNDING if mode != "stochastic"]


def _context(precision: int, direction: int):
    return gmpy2.context(
        precision=precision,
        round=direction,
        emin=gmpy2.get_emin_min(),
        emax=gmpy2.get_emax_max(),
    )


MPFR = {
    "exp": gmpy2.exp,
    "exp2": gmpy2.exp2,
    "expm1": gmpy2.expm1,
    "log": gmpy2.log,
    "log2": gmpy2.log2,
    "log1p": gmpy2.log1p,
    "tanh": gmpy2.tanh,
    "erf": gmpy2.erf,
    "sin": gmpy2.sin,
    "cos": gmpy2.cos,
    "rsqrt": gmpy2.rec_sqrt,
    "power": lambda x, y: x**y,
    "hypot": gmpy2.hypot,
}


def bound(op: str, numbers: tuple[float, ...], precision: int, up: bool) -> gmpy2.mpfr:
    """MPFR's result rounded down or up: a bound for the true one."""
    with _context(precision, gmpy2.RoundUp if up else gmpy2.RoundDown):
        if op != "sigmoid":
            return MPFR[op](*(gmpy2.mpfr(v) for v in numbers))
    with _context(precision, gmpy2.RoundDown if up else gmpy2.RoundUp):
        below = 1 + gmpy2.exp(-gmpy2.mpfr(numbers[0]))
    with _context(precision, gmpy2.RoundUp if up else gmpy2.RoundDown):
        return 1 / below


def judge(op: str, numbers: tuple[float, ...], f: fp.Format, mode: str) -> float:
    """The true result rounded to `f`.

    It is MPFR's, if both directions agree; else it lies strictly between two neighbours of 200
    bits, as does their mean, and no number or midpoint of a format does.
    """
    low, high = (_number(bound(op, numbers, 200, up)) for up in (False, True))
    if low == high or low != low or abs(high) == math.inf:
        exactly = low
    elif abs(low) == math.inf:
        exactly = high
    else:
        exactly = (Fraction(low) + Fraction(high)) / 2
    return exact.round_to(exactly, f, rounding=mode)


def _number(value: gmpy2.mpfr) -> Fraction | float:
    if not gmpy2.is_finite(value) or value == 0:
        return float(value)
    exponent = gmpy2.frexp(value)[0]
    if abs(exponent) > 3000:  # far outside of every format only the side matters
        return (1 if value > 0 else -1) * Fraction(2) ** (3000 if exponent > 0 else -3000)
    return Fraction(*value.as_integer_ratio())


UNARY = ["sigmoid", *(op for op in MPFR if op not in ("power", "hypot"))]


@functools.cache
def values_of(f: fp.Format) -> np.ndarray:
    return fp.decode(np.arange(1 << f.bits), f).astype(np.float64)


def check(op: str, f: fp.Format, mode: str, *operands: np.ndarray) -> int:
    """Compare every result with MPFR's."""
    got = elementwise.apply(op, *operands, f=f, rounding=mode)
    rows = zip(*(v.tolist() for v in operands), strict=True)
    assert_same(got, [judge(op, numbers, f, mode) for numbers in rows], operands[0])
    return got.size


def odd_results(op: str, *operands: np.ndarray) -> np.ndarray:
    """MPFR's results cut to 53 bits, the last one odd where something was cut off."""
    found = np.empty(operands[0].shape)
    context = gmpy2.context(
        precision=53, round=gmpy2.RoundToZero, emin=gmpy2.get_emin_min(), emax=gmpy2.get_emax_max()
    )
    with context as now:
        for i, row in enumerate(zip(*(v.tolist() for v in operands), strict=True)):
            now.inexact = False
            if op == "sigmoid":
                low, high = (bound(op, row, 53, up) for up in (False, True))
                found[i], cut = float(low), low != high
            else:
                y = MPFR[op](*map(gmpy2.mpfr, row))
                cut = now.inexact
                e = gmpy2.frexp(y)[0] if gmpy2.is_finite(y) and y != 0 else 0
                y = gmpy2.copy_sign(gmpy2.exp2(900 if e > 0 else -900), y) if abs(e) > 900 else y
                found[i] = float(y)
            if cut and math.isfinite(found[i]):
                found[i] = (found[i : i + 1].view(np.int64) | 1).view(np.float64)[0]
            elif cut:  # beyond every exponent of MPFR's
                found[i] = math.copysign(2.0**900, found[i])
    return found


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("f", [fp.FP16, fp.BF16], ids=str)
def test_every_16_bit_code_in_every_mode(f, op):
    x = values_of(f)
    x = x[np.isfinite(x) & (x != 0)]  # the others are below
    check_in_every_mode(op, f, x)


def check_in_every_mode(op: str, f: fp.Format, *operands: np.ndarray) -> None:
    exactly = odd_results(op, *operands)
    finite = np.isfinite(exactly)
    assert np.count_nonzero(finite) > 30_000
    for mode in MODES:
        got = elementwise.apply(op, *operands, f=f, rounding=mode)
        want = np.where(finite, place(Odd(np.where(finite, exactly, 1.0), f), f, mode), exactly)
        assert_same(got, want, operands[0])


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e4m3fnuz", "e3m4", "8p3se", "e8m0"])
def test_every_8_bit_code_in_every_mode(name, op):
    f = fp.as_format(name)
    x = values_of(f)
    x = x[~np.isnan(x) & (x != 0)]
    for mode in MODES:
        if f.signed:
            check(op, f, mode, x)
        else:
            got = elementwise.apply(op, x, f=f, rounding=mode)
            assert_same(got, [exact.compute(op, v, f=f, rounding=mode) for v in x.tolist()], x)


@pytest.mark.parametrize("op", ["power", "hypot"])
@pytest.mark.parametrize("f", [fp.E4M3, fp.E5M2], ids=str)
def test_every_pair_of_8_bit_codes_in_every_mode(f, op):
    x = values_of(f)
    a, b = (v.ravel() for v in np.meshgrid(x, x))
    ordinary = np.isfinite(a) & np.isfinite(b) & (a != 0) & (b != 0)
    check_in_every_mode(op, f, a[ordinary], b[ordinary])


def arguments(op: str, f: fp.Format) -> np.ndarray:
    rng = np.random.default_rng([ord(c) for c in op])
    exponents = rng.integers(-140, 127, 700)
    spread = np.ldexp(1 + rng.random(700), exponents)
    usual = rng.uniform(-20, 20, 900)
    circle = np.arange(1, 200) * (math.pi / 2)
    near_one = 1 + rng.uniform(-1e-3, 1e-3, 200)
    x = np.concatenate(
        [spread, -spread[::2], usual, circle, near_one, np.ldexp(1.0, exponents[:40])]
    )
    if op in ("log", "log2", "rsqrt"):
        x = np.abs(x)
    if op == "log1p":
        x = x[x > -1]
    return fp.quantize(x, f).astype(np.float64)


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("f", [fp.TF32, fp.FP32], ids=str)
def test_samples_of_the_wider_formats_are_correctly_rounded(f, op):
    x = arguments(op, f)
    x = x[np.isfinite(x) & (x != 0)]
    if op == "log1p":
        x = x[x > -1]
    check(op, f, "nearest_even", x)
    check(op, f, "toward_positive", x[::7])


@pytest.mark.parametrize("op", ["power", "hypot"])
def test_samples_of_pairs_in_fp32(op):
    rng = np.random.default_rng(5)
    a = fp.quantize(np.exp(rng.uniform(-8, 8, 1500)), "fp32").astype(np.float64)
    b = fp.quantize(rng.uniform(-9, 9, 1500), "fp32").astype(np.float64)
    a = np.concatenate([a, [2.25, 3.0, 4.0, 1.0000001192092896]])
    b = np.concatenate([b, [1.5, 4.0, -0.5, 8388608.0]])
    for mode in ("nearest_even", "toward_zero"):
        check(op, fp.FP32, mode, a, b)


INF, NAN = math.inf, math.nan
# IEEE 754-2019 section 9.2.1, and Python's own math where it says the same.
SPECIAL = [
    ("exp", (0.0,), 1.0),
    ("exp", (-INF,), 0.0),
    ("exp", (INF,), INF),
    ("exp2", (-3.0,), 0.125),
    ("expm1", (-0.0,), -0.0),
    ("expm1", (-INF,), -1.0),
    ("log", (-0.0,), -INF),
    ("log", (-1.0,), NAN),
    ("log", (1.0,), 0.0),
    ("log2", (0.125,), -3.0),
    ("log1p", (-0.0,), -0.0),
    ("log1p", (-1.0,), -INF),
    ("log1p", (-2.0,), NAN),
    ("tanh", (-0.0,), -0.0),
    ("tanh", (-INF,), -1.0),
    ("sigmoid", (0.0,), 0.5),
    ("sigmoid", (-INF,), 0.0),
    ("sigmoid", (INF,), 1.0),
    ("erf", (-0.0,), -0.0),
    ("erf", (INF,), 1.0),
    ("sin", (-0.0,), -0.0),
    ("sin", (INF,), NAN),
    ("cos", (-0.0,), 1.0),
    ("cos", (-INF,), NAN),
    ("rsqrt", (-0.0,), -INF),
    ("rsqrt", (0.25,), 2.0),
    ("rsqrt", (-1.0,), NAN),
    ("rsqrt", (INF,), 0.0),
    ("hypot", (-3.0, 4.0), 5.0),
    ("hypot", (-INF, NAN), INF),
    ("hypot", (-0.0, -0.0), 0.0),
    ("power", (NAN, 0.0), 1.0),
    ("power", (1.0, NAN), 1.0),
    ("power", (-1.0, -INF), 1.0),
    ("power", (0.5, INF), 0.0),
    ("power", (-0.0, -3.0), -INF),
    ("power", (-0.0, -2.0), INF),
    ("power", (-0.0, 3.0), -0.0),
    ("power", (-8.0, 0.5), NAN),
    ("power", (-2.0, 3.0), -8.0),
    ("power", (-INF, 3.0), -INF),
    ("power", (-INF, -3.0), -0.0),
    ("power", (4.0, -1.5), 0.125),
]


@pytest.mark.parametrize(("op", "operands", "want"), SPECIAL)
def test_special_operands(op, operands, want):
    for f in (fp.FP16, fp.FP32):
        assert same(exact.compute(op, *operands, f=f), want)
        arrays = [np.array([v]) for v in operands]
        for mode in MODES:
            assert same(elementwise.apply(op, *arrays, f=f, rounding=mode)[0], want)


@given(data=st.data())
def test_flags_and_random_bits_of_functions(data):
    f = data.draw(st.sampled_from([fp.FP16, fp.BF16, fp.E4M3, fp.E5M2, fp.TF32, fp.E8M0]))
    op = data.draw(st.sampled_from(exact.FUNCTIONS))
    count = 2 if op in ("power", "hypot") else 1
    values = [exact.decode(data.draw(st.integers(0, (1 << f.bits) - 1)), f) for _ in range(count)]
    arrays = [np.array([v]) for v in values]
    mode = data.draw(st.sampled_from(list(ROUNDING)))
    chance = Chance(data.draw(st.integers(0, 9)), data.draw(st.integers(1, 30)))
    away = chance.away(0) if mode == "stochastic" else None
    got = elementwise.apply(op, *arrays, f=f, rounding=mode, chance=chance)
    assert same(got[0], exact.compute(op, *values, f=f, rounding=mode, away=away))
    for tininess in exact.TININESS:
        bits = elementwise.flags_of(
            op, *arrays, f=f, rounding=mode, chance=chance, tininess=tininess
        )
        want = exact.flags_of_operation(
            op, *values, f=f, rounding=mode, away=away, tininess=tininess
        )
        assert {flag.name.lower() for flag in Flag if flag & int(bits[0])} == want


@pytest.mark.parametrize("op", ["exp", "log"])
def test_fp64_results_are_within_one_ulp(op):
    rng = np.random.default_rng(5)
    near_one = 1 + rng.uniform(-1e-3, 1e-3, 4000)
    x = np.concatenate([rng.uniform(-708, 709, 6000), near_one, [0.0, -0.0]])
    if op == "log":
        x = np.concatenate([np.exp(rng.uniform(-740, 700, 6000)), near_one, [5e-324, 1.0]])
    got = elementwise.apply(op, x, f=fp.FP64)
    worst = 0.0
    with gmpy2.context(precision=160):
        for argument, value in zip(x.tolist(), got.tolist(), strict=True):
            want = MPFR[op](gmpy2.mpfr(argument))
            ulp = np.spacing(abs(float(want))) if want else 5e-324
            worst = max(worst, abs(float((gmpy2.mpfr(value) - want) / ulp)))
    assert worst < 1.0, worst


def test_a_worse_library_than_the_bound_allows_is_caught(monkeypatch):
    """The proof leans on the bound: with a NumPy off by 2**-20 the results are wrong, and seen."""
    x = values_of(fp.FP16)
    x = x[(np.abs(x) < 8) & (np.abs(x) > 2**-8)]
    check("exp", fp.FP16, "nearest_even", x)
    monkeypatch.setitem(functions._NUMPY, "exp", lambda v: np.exp(v) * (1 + 2.0**-20))
    with pytest.raises(AssertionError, match="differ"):
        check("exp", fp.FP16, "nearest_even", x)


def test_numpys_last_bits_do_not_matter(monkeypatch):
    x = values_of(fp.BF16)
    x = x[np.isfinite(x)]
    plain = elementwise.apply("tanh", x, f=fp.BF16)
    rng = np.random.default_rng(0)
    off = rng.integers(-16, 17, x.size)
    monkeypatch.setitem(
        functions._NUMPY, "tanh", lambda v: np.tanh(v) * (1 + off.reshape(v.shape) * 2.0**-52)
    )
    assert_same(elementwise.apply("tanh", x, f=fp.BF16), plain, x)
