"""Small spaces, whole: every pair of every 8-bit format, every code of the 16-bit formats."""

from __future__ import annotations

import functools

import gmpy2
import numpy as np
import pytest
from grid_judge import judge
from oracles import assert_same, same

import fpemu as fp
from fpemu import elementwise, exact
from fpemu.formats import NAMED
from fpemu.rounding import ROUNDING, SATURATION

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
EIGHT_BITS = [f for f in NAMED.values() if f.bits == 8]
EIGHT_BITS += [fp.as_format(name) for name in ("8p3se", "8p4sf", "8p4ue", "8p1se", "8p2uf")]


@functools.cache
def values_of(f: fp.Format) -> np.ndarray:
    return np.array([exact.decode(code, f) for code in range(1 << f.bits)])


def pairs_of(f: fp.Format) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(values_of(f), values_of(f))
    return a.ravel(), b.ravel()


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide"])
@pytest.mark.parametrize("f", EIGHT_BITS, ids=str)
def test_every_pair_in_every_mode_and_saturation(f, op):
    a, b = pairs_of(f)
    for mode in MODES:
        for saturation in SATURATION:
            got = elementwise.apply(op, a, b, f=f, rounding=mode, saturation=saturation)
            want = judge(op, a, b, f, mode, saturation)
            wrong = np.flatnonzero(~same(got, want))
            shown = [(a[i], b[i], float(got[i]), float(want[i])) for i in wrong[:4]]
            assert not shown, (mode, saturation, wrong.size, shown)


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide"])
@pytest.mark.parametrize("f", EIGHT_BITS, ids=str)
def test_the_judge_agrees_with_the_reference(f, op):
    """The two judges share no code, so that neither is believed alone."""
    rng = np.random.default_rng(0)
    a, b = pairs_of(f)
    chosen = rng.choice(a.size, 150, replace=False)
    for mode in MODES:
        for saturation in SATURATION:
            want = [
                exact.compute(op, x, y, f=f, rounding=mode, saturation=saturation)
                for x, y in zip(a[chosen].tolist(), b[chosen].tolist(), strict=True)
            ]
            got = judge(op, a[chosen], b[chosen], f, mode, saturation)
            assert_same(got, want, a[chosen])


@pytest.mark.parametrize("source", EIGHT_BITS, ids=str)
def test_every_conversion_from_8_bits(source):
    x = values_of(source)
    for f in [g for g in NAMED.values() if g.bits <= 32]:
        numbers = x if f.has_nan else x[~np.isnan(x)]
        for mode in MODES:
            for saturation in SATURATION:
                settings = {"rounding": mode, "saturation": saturation}
                got = fp.quantize(numbers, f, **settings)
                want = [exact.round_to(v, f, **settings) for v in numbers.tolist()]
                assert_same(got, want, numbers)


UNARY = ("sqrt", "round_to_integer")


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("f", EIGHT_BITS, ids=str)
def test_unary_operations_of_every_8_bit_code(f, op):
    x = values_of(f)
    for mode in MODES:
        for saturation in SATURATION:
            settings = {"rounding": mode, "saturation": saturation}
            want = [exact.compute(op, v, f=f, **settings) for v in x.tolist()]
            assert_same(elementwise.apply(op, x, f=f, **settings), want, x)


MPFR_MODES = {
    "nearest_even": gmpy2.RoundToNearest,
    "toward_zero": gmpy2.RoundToZero,
    "toward_positive": gmpy2.RoundUp,
    "toward_negative": gmpy2.RoundDown,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("f", [fp.FP16, fp.BF16], ids=str)
def test_square_root_of_every_16_bit_code(f, mode):
    x = values_of(f)
    got = elementwise.apply("sqrt", x, f=f, rounding=mode)
    if mode in MPFR_MODES:
        # The root of a number of the format is never below the smallest normal.
        with gmpy2.context(precision=f.precision, round=MPFR_MODES[mode]):
            want = [float(gmpy2.sqrt(gmpy2.mpfr(v))) for v in x.tolist()]
    else:
        x, got = x[::9], got[::9]
        want = [exact.sqrt(v, f, rounding=mode) for v in x.tolist()]
    assert_same(got, want, x)


@pytest.mark.parametrize("f", [fp.FP16, fp.BF16], ids=str)
def test_integers_from_every_16_bit_code(f):
    x = values_of(f)
    numpys = {
        "nearest_even": np.rint,
        "toward_zero": np.trunc,
        "toward_positive": np.ceil,
        "toward_negative": np.floor,
        "nearest_away": lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v),
        "to_odd": lambda v: np.copysign(
            np.where(v == np.rint(v), np.abs(v), 2 * np.floor(np.abs(v) / 2) + 1), v
        ),
    }
    for mode, function in numpys.items():
        assert_same(elementwise.apply("round_to_integer", x, f=f, rounding=mode), function(x), x)


@pytest.mark.parametrize("f", [fp.E4M3, fp.E5M2, fp.E3M4, fp.p3109(8, 4)], ids=str)
def test_the_exact_operations_of_every_pair(f):
    a, b = pairs_of(f)
    a, b = a[::3], b[::3]
    for op in ("remainder", "fmod", "modulo", "minimum", "maximum_number"):
        got = elementwise.apply(op, a, b, f=f)
        want = [exact.compute(op, x, y, f=f) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        assert_same(got, want, a)
