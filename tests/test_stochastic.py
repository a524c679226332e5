"""Stochastic rounding: the generator against published vectors, decisions against exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import same

import fpemu as fp
from fpemu import exact
from fpemu.formats import NAMED
from fpemu.kernels.philox import philox

# Random123's known-answer vectors for philox4x32-10: counter, key, result.
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "want"), KNOWN)
def test_philox_gives_the_published_words(counter, key, want):
    assert exact.philox(counter, key) == want
    words = [np.uint64(v) for v in (*counter, *key)]
    assert [int(v) % 2**32 for v in philox(*words)] == want


@given(
    name=st.sampled_from(sorted(n for n in NAMED if n != "fp64")),
    x=st.floats(allow_nan=False),
    seed=st.integers(0, 2**64 - 1),
    random_bits=st.integers(1, 64),
    variant=st.sampled_from("ABC"),
    at=st.integers(0, 3000),
    single=st.booleans(),
)
def test_every_decision_is_the_references(name, x, seed, random_bits, variant, at, single):
    f = fp.as_format(name)
    if single:
        with np.errstate(all="ignore"):
            x = float(np.float32(x))
    random = exact.random_integer(at, seed, random_bits)
    want = exact.round_to(
        x,
        f,
        rounding="stochastic",
        away=lambda rest: exact.rounds_away_by_chance(rest, random, random_bits, variant),
    )
    array = np.zeros(at + 1, np.float32 if single else np.float64)
    array[at] = x
    settings = {"seed": seed, "random_bits": random_bits, "random_variant": variant}
    assert same(fp.quantize(array, f, rounding="stochastic", **settings)[at], want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E4M3], ids=str)
def test_whole_arrays_agree_with_the_reference(f, dtype):
    rng = np.random.default_rng(4)
    exponents = rng.integers(max(f.emin - f.fraction_bits - 3, -126), min(f.emax + 2, 127), 3000)
    x = (np.ldexp(rng.random(3000) + 1, exponents) * rng.choice([1, -1], 3000)).astype(dtype)
    got = fp.quantize(x, f, rounding="stochastic", seed=9)
    for i in range(0, 3000, 7):
        away = exact.random_integer(i, 9, 24)
        want = exact.round_to(
            float(x[i]),
            f,
            rounding="stochastic",
            away=lambda rest, away=away: exact.rounds_away_by_chance(rest, away, 24, "A"),
        )
        assert same(got[i], want), i


@given(rest=st.fractions(0, Fraction(2**60 - 1, 2**60)), bits=st.integers(1, 10))
def test_the_chance_of_each_variant_is_the_rest_to_n_bits(rest, bits):
    top = 1 << bits
    wanted = {
        "A": math.floor(rest * top),
        "B": math.floor(rest * top + Fraction(1, 2)),
        "C": round(rest * top),
    }
    for variant, ups in wanted.items():
        decided = [exact.rounds_away_by_chance(rest, r, bits, variant) for r in range(top)]
        assert sum(decided) == ups


def test_the_whole_residual_counts_not_a_sticky_bit():
    # 1 + 2**-30 goes up in BF16 with probability 2**-23: 2 of 2**24 random integers.
    rest = Fraction(1, 2**23)
    assert exact.rounds_away_by_chance(rest, 2**24 - 2, 24, "A")
    assert not exact.rounds_away_by_chance(rest, 2**24 - 3, 24, "A")
    # The mean is the value itself: 10**6 samples of 1.25 last places, 5 standard deviations.
    x = np.full(10**6, 1 + 1.25 * 2**-10, np.float32)
    mean = fp.quantize(x, fp.FP16, rounding="stochastic", seed=1).astype(float).mean()
    assert abs(mean - x[0]) < 5 * 2**-10 * math.sqrt(0.1875) / 1000


def test_below_the_smallest_and_beyond_the_largest_value():
    tiny = fp.quantize(np.full(4096, 2.0**-26), fp.FP16, rounding="stochastic")
    assert set(np.unique(tiny)) == {0, 2.0**-24}
    assert 0.2 < np.mean(tiny != 0) < 0.3
    big = np.full(4096, 65512.0)
    assert set(fp.quantize(big, fp.FP16, rounding="stochastic")) == {65504, np.inf}
    held = fp.quantize(big, fp.FP16, rounding="stochastic", saturation="finite")
    assert set(held) == {65504}
    assert fp.quantize([0.5, -2.0, np.inf], fp.FP16, rounding="stochastic").tolist() == [
        0.5,
        -2.0,
        np.inf,
    ]


def test_a_seed_and_a_position_decide_and_nothing_else():
    x = np.linspace(-3, 3, 5000, dtype=np.float32)
    first = fp.quantize(x, fp.E4M3, rounding="stochastic", seed=3)
    assert np.array_equal(first, fp.quantize(x, fp.E4M3, rounding="stochastic", seed=3))
    assert not np.array_equal(first, fp.quantize(x, fp.E4M3, rounding="stochastic", seed=4))
    # The beginning of a longer array, another shape, another carrier: the same bits.
    assert np.array_equal(
        first[:1111], fp.quantize(x[:1111], "e4m3", rounding="stochastic", seed=3)
    )
    square = fp.quantize(x.reshape(50, 100), fp.E4M3, rounding="stochastic", seed=3)
    assert np.array_equal(first, square.reshape(-1))
    wide = fp.quantize(x.astype(np.float64), fp.E4M3, rounding="stochastic", seed=3)
    assert np.array_equal(first, wide)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"random_bits": 0}, "random_bits must be an integer from 1 to 64, got 0"),
        ({"random_bits": 65}, "random_bits must be an integer from 1 to 64, got 65"),
        ({"seed": -1}, "seed must be an integer from 0 to 18446744073709551615, got -1"),
        ({"seed": 0.5}, "seed must be an integer"),
        ({"random_variant": "D"}, "unknown random_variant 'D'; allowed: A, B, C"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.quantize(1.0, fp.FP16, rounding="stochastic", **settings)
    assert message in str(caught.value)
