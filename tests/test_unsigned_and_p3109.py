"""Formats without a sign or without zero, and IEEE P3109: against ml_dtypes, gfloat and exact.py."""

from __future__ import annotations

import math

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat.formats import format_info_p3109
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, cast, same

import fpemu as fp
from fpemu import exact
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
# Largest value, its code, smallest normal: the tables of the P3109 report.
PUBLISHED = {
    "8p1se": (2.0**62, 0x7E, 2.0**-63),
    "8p1sf": (2.0**63, 0x7F, 2.0**-63),
    "8p2se": (2.0**31, 0x7E, 2.0**-31),
    "8p3se": (49152, 0x7E, 2.0**-15),
    "8p3sf": (57344, 0x7F, 2.0**-15),
    "8p4se": (224, 0x7E, 2.0**-7),
    "8p4sf": (240, 0x7F, 2.0**-7),
    "8p5se": (15, 0x7E, 2.0**-3),
    "8p6se": (3.875, 0x7E, 0.5),
    "8p7se": (1.96875, 0x7E, 1),
    "8p1ue": (2.0**125, 0xFD, 2.0**-127),
    "8p1uf": (2.0**126, 0xFE, 2.0**-127),
    "8p2ue": (1.5 * 2**62, 0xFD, 2.0**-63),
    "8p3ue": (1.25 * 2**31, 0xFD, 2.0**-31),
    "8p3uf": (1.5 * 2**31, 0xFE, 2.0**-31),
    "8p4ue": (53248, 0xFD, 2.0**-15),
    "8p4uf": (57344, 0xFE, 2.0**-15),
    "8p5ue": (232, 0xFD, 2.0**-7),
    "8p6ue": (15.25, 0xFD, 2.0**-3),
    "8p8ue": (1.9765625, 0xFD, 1),
}


def every_p3109(most: int):
    for bits in range(3, most + 1):
        for signed in (True, False):
            for precision in range(1, bits + (not signed)):
                for extended in (True, False):
                    yield fp.p3109(bits, precision, signed, extended)


EVERY = list(every_p3109(15))
ALL_TO_15 = [f for f in EVERY if f.fits_float64]
BEYOND = [f for f in EVERY if not f.fits_float64]  # see test_beyond_float64
SMALL = [f for f in ALL_TO_15 if f.bits <= 6] + [fp.as_format(name) for name in PUBLISHED]
UNSIGNED_FN = fp.Format("ue4m3", 4, 3, encoding="fn", signed=False)
UNSIGNED = [fp.E8M0, UNSIGNED_FN, fp.Format("ue5m3", 5, 3, signed=False)]
UNSIGNED += [fp.Format("ue3m2", 3, 2, encoding="finite", signed=False)]
UNSIGNED += [fp.Format("ue3m2uz", 3, 2, encoding="fnuz", signed=False)]
UNSIGNED += [fp.Format("e5m1fnu", 5, 1, encoding="fnu")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_p3109_values(name):
    f = fp.as_format(name)
    assert (f.max, f.max_code, f.smallest_normal) == PUBLISHED[name]
    assert fp.as_format(f.name) == f
    assert eval(repr(f), {"fp": fp}) == f


def test_442_formats_exist():
    assert (len(ALL_TO_15), len(BEYOND)) == (410, 32)
    with pytest.raises(fp.ArgumentError, match="precision must be from 1 to 7 for 8 bits with"):
        fp.p3109(8, 8)
    with pytest.raises(fp.ArgumentError, match="bits must be from 3 to 15, got 16"):
        fp.p3109(16, 4)


@pytest.mark.parametrize("f", [f for f in ALL_TO_15 if f.bits <= 10 or f.bits == 15], ids=str)
def test_codes_are_gfloats(f):
    theirs = format_info_p3109(
        f.bits,
        f.precision,
        gfloat.Signedness.Signed if f.signed else gfloat.Signedness.Unsigned,
        gfloat.Domain.Extended if f.has_inf else gfloat.Domain.Finite,
    )
    codes = np.arange(1 << f.bits)
    codes = codes[:: 1 if f.bits <= 8 else 37]
    want = [gfloat.decode_float(theirs, int(code)).fval for code in codes]
    assert_same(fp.decode(codes, f), want, codes)
    assert_same([exact.decode(int(code), f) for code in codes], want, codes)
    finite = np.isfinite(want)
    assert np.array_equal(fp.encode(np.array(want)[finite], f), codes[finite])


def points_of(f: fp.Format) -> np.ndarray:
    codes = np.arange(1 << f.bits)
    values = np.array([exact.decode(int(code), f) for code in codes])
    values = np.unique(values[np.isfinite(values)])
    far = [2 * values[-1], 1.5 * values[-1], 1e300, np.inf, np.nan, 0.0, 5e-324]
    middle = (values[1:] + values[:-1]) / 2
    near = np.concatenate([values, middle, values[:1] / 2, far])
    points = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, 0)])
    return np.concatenate([points, -points])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("f", [*SMALL, *UNSIGNED], ids=str)
def test_conversion_in_every_mode(f, mode):
    points = points_of(f)
    for saturation in SATURATION:
        x = points if f.has_nan or saturation == "finite" else points[~np.isnan(points)]
        for subnormals in ("gradual", "ftz"):
            settings = {"rounding": mode, "saturation": saturation, "subnormals": subnormals}
            want = [exact.round_to(v, f, **settings) for v in x.tolist()]
            assert_same(fp.quantize(x, f, **settings), want, x)


@given(
    f=st.sampled_from([*SMALL, *UNSIGNED]),
    x=st.floats(width=32),
    seed=st.integers(0, 99),
    saturation=st.sampled_from(list(SATURATION)),
    subnormals=st.sampled_from(list(SUBNORMALS)),
)
def test_stochastic_conversion(f, x, seed, saturation, subnormals):
    if math.isnan(x) and not f.has_nan:
        return
    settings = {"saturation": saturation, "subnormals": subnormals}
    random = exact.random_integer(0, seed, 24)
    read = exact.read_operand(x, fp.FP32, subnormals)
    want = exact.round_to(
        read,
        f,
        rounding="stochastic",
        away=lambda rest: exact.rounds_away_by_chance(rest, random, 24, "A"),
        **settings,
    )
    got = fp.quantize(np.float32([x]), f, rounding="stochastic", seed=seed, **settings)
    assert same(got[0], want)


def test_overflow_follows_the_rule_of_p3109():
    finite, extended = fp.p3109(8, 4, extended=False), fp.p3109(8, 4)
    unsigned = fp.as_format("4p2ue")
    assert fp.quantize(1e9, finite) == 240  # SatNone clamps where there is no infinity
    assert fp.quantize(-np.inf, finite) == -240
    assert fp.quantize(1e9, extended) == np.inf
    assert fp.quantize(1e9, extended, saturation="propagate") == 224
    assert fp.quantize(np.inf, extended, saturation="propagate") == np.inf
    assert fp.quantize(np.inf, extended, saturation="finite") == 224
    assert fp.quantize(1e9, extended, rounding="to_odd") == np.inf  # max is even, infinity odd
    assert fp.quantize(8.0, unsigned, rounding="to_odd") == unsigned.max  # max is odd
    assert fp.quantize(-1.0, unsigned) == 0
    assert fp.quantize(-np.inf, unsigned, saturation="propagate") == 0
    assert same(fp.quantize(-1e-9, unsigned), 0.0)


def test_e8m0_is_ml_dtypes_but_for_ties():
    theirs = ml_dtypes.float8_e8m0fnu
    assert_same(
        fp.decode(np.arange(256), "e8m0"),
        np.arange(256, dtype=np.uint8).view(theirs).astype(np.float64),
        np.arange(256),
    )
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    x = np.concatenate([x, np.float32([0, -0.0, np.inf, -np.inf, np.nan, 2.0**-149, 1.5])])
    # ml_dtypes takes ties up, and values below 2**-127 to 2**-127. Its version 0.6.0 also takes all
    # between 2**-127 and 2**-126 up, such as 1.05 * 2**-127: float32's subnormals confuse it.
    x = x[~((x > 2.0**-127) & (x < 2.0**-126))]
    want = cast(cast(x, theirs), np.float64)
    assert_same(fp.quantize(x, "e8m0", rounding="nearest_away"), want, x)
    assert fp.quantize(3.0, fp.E8M0) == 2
    assert fp.quantize(6.0, fp.E8M0) == 8
    assert fp.quantize(1.5, fp.E8M0) == 2
    assert fp.quantize(0.0, fp.E8M0, saturation="finite") == 2.0**-127


@pytest.mark.parametrize("f", UNSIGNED, ids=str)
def test_negative_values_without_a_sign(f):
    x = np.array([-1.0, -np.inf])
    none = fp.quantize(x, f)
    assert np.isnan(none).all() if f.has_nan else (none == f.min).all()
    for saturation in ("finite", "propagate"):
        assert (fp.quantize(x, f, saturation=saturation) == f.min).all()
    x = fp.array([1.0, 2.0], f)
    assert np.isnan((-x).to_numpy()).all() if f.has_nan else ((-x).to_numpy() == f.min).all()


def test_below_the_smallest_number_of_a_format_without_zero():
    """Once wrong wherever such a format has a fraction: its lowest binade went on below."""
    f = fp.Format("e4m3fnu", 4, 3, encoding="fnu")  # codes 0, 1, 2 are 1, 1.125, 1.25 times 2**-7
    x = [0.0049, 2.0**-7 * 0.99, 1e-30, 2.0**-7 * 1.05]
    for points in (x, np.float32(x)):
        for mode in MODES:
            up = mode in ("toward_positive", "to_odd")
            assert fp.encode(points, f, rounding=mode).tolist() == [0, 0, 0, int(up)], mode
    assert f.smallest_subnormal == f.smallest_normal == 2.0**-7
    assert (fp.array([0.01], f) * 0.5).tolist() == [2.0**-7]
    with pytest.raises(fp.ArgumentError, match=r"0\.0048828125 is not a value of e4m3fnu"):
        fp.ulp(0.0048828125, f)
