"""Formats against the published tables, NumPy's finfo and ml_dtypes' finfo."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from oracles import ML_DTYPES

import fpemu as fp
from fpemu.formats import NAMED, format_of_dtype

# name: (max, smallest normal, smallest subnormal, eps, bits, bias, has_inf, has_nan, has -0)
# Sources: IEEE 754-2019 table 3.5; OFP8 1.0 table 1; MX 1.0 tables 2-5; LLVM's FNUZ types.
TABLE = {
    "fp32": (3.4028234663852886e38, 2**-126, 2**-149, 2**-23, 32, 127, True, True, True),
    "tf32": (3.4011621342146535e38, 2**-126, 2**-136, 2**-10, 19, 127, True, True, True),
    "fp16": (65504, 2**-14, 2**-24, 2**-10, 16, 15, True, True, True),
    "bf16": (3.3895313892515355e38, 2**-126, 2**-133, 2**-7, 16, 127, True, True, True),
    "e4m3": (448, 2**-6, 2**-9, 2**-3, 8, 7, False, True, True),
    "e5m2": (57344, 2**-14, 2**-16, 2**-2, 8, 15, True, True, True),
    "e4m3fnuz": (240, 2**-7, 2**-10, 2**-3, 8, 8, False, True, False),
    "e5m2fnuz": (57344, 2**-15, 2**-17, 2**-2, 8, 16, False, True, False),
    "e4m3b11fnuz": (30, 2**-10, 2**-13, 2**-3, 8, 11, False, True, False),
    "e4m3_ieee": (240, 2**-6, 2**-9, 2**-3, 8, 7, True, True, True),
    "e3m4": (15.5, 2**-2, 2**-6, 2**-4, 8, 3, True, True, True),
    "e2m3": (7.5, 1, 2**-3, 2**-3, 6, 1, False, False, True),
    "e3m2": (28, 2**-2, 2**-4, 2**-2, 6, 3, False, False, True),
    "e2m1": (6, 1, 0.5, 0.5, 4, 1, False, False, True),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_the_published_ones(name):
    f = fp.as_format(name)
    got = (f.max, f.smallest_normal, f.smallest_subnormal, f.eps, f.bits, f.bias)
    assert (*got, f.has_inf, f.has_nan, f.has_negative_zero) == TABLE[name]
    assert f.min == -f.max
    assert f.emin == np.log2(f.smallest_normal)
    assert f.emax == np.floor(np.log2(f.max))


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp16", np.float16), ("fp32", np.float32), ("fp64", np.float64)]
)
def test_finfo_agrees_with_numpy(name, dtype):
    ours, theirs = fp.finfo(name), np.finfo(dtype)
    for attribute in fp.finfo(name).__dataclass_fields__:
        # NumPy's resolution is 10**-precision computed in the dtype itself.
        loose = 1e-3 if attribute == "resolution" else 0
        want = float(getattr(theirs, attribute))
        assert float(getattr(ours, attribute)) == pytest.approx(want, rel=loose, abs=0), attribute


@pytest.mark.parametrize("name", ML_DTYPES)
def test_finfo_agrees_with_ml_dtypes(name):
    ours, theirs = fp.finfo(name), ml_dtypes.finfo(ML_DTYPES[name])
    for attribute in ("bits", "nmant", "eps", "max", "min", "smallest_normal"):
        assert float(getattr(ours, attribute)) == float(getattr(theirs, attribute)), attribute
    assert ours.smallest_subnormal == float(theirs.smallest_subnormal)


def test_names_dtypes_and_constants_are_the_same_formats():
    for name, f in NAMED.items():
        assert fp.as_format(name) is f
        assert fp.as_format(name.upper()) is f
        assert getattr(fp, name.upper()) is f
        assert repr(f) == f"fp.{name.upper()}"
        assert str(f) == name
    for name, dtype in ML_DTYPES.items():
        assert fp.as_format(dtype) is fp.as_format(name)
        assert fp.as_format(np.dtype(dtype)) is fp.as_format(name)
    assert format_of_dtype(np.int32) is None


def test_formats_are_immutable_values():
    mine = fp.Format(name="fp16", exponent_bits=5, fraction_bits=10)
    assert mine == fp.FP16
    assert hash(mine) == hash(fp.FP16)
    assert mine != fp.Format(name="half", exponent_bits=5, fraction_bits=10)
    with pytest.raises(AttributeError):
        mine.bias = 3
    rebuilt = eval(repr(fp.Format("dl", 6, 9)), {"fp": fp})
    assert rebuilt == fp.Format("dl", 6, 9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"exponent_bits": 12, "fraction_bits": 3},
            "exponent_bits must be an integer from 1 to 11",
        ),
        (
            {"exponent_bits": 5, "fraction_bits": 53},
            "fraction_bits must be an integer from 0 to 52",
        ),
        ({"exponent_bits": 5.0, "fraction_bits": 2}, "exponent_bits must be an integer"),
        ({"exponent_bits": 5, "fraction_bits": 0}, "use encoding 'fn', 'fnuz' or 'finite'"),
        ({"exponent_bits": 5, "fraction_bits": 2, "encoding": "iee"}, "did you mean 'ieee'?"),
        (
            {"exponent_bits": 11, "fraction_bits": 2, "bias": 40000},
            "must lie within 2**-33000 to 2**33000",
        ),
        ({"exponent_bits": 5, "fraction_bits": 2, "bias": 1.5}, "bias must be an integer, got 1.5"),
    ],
)
def test_impossible_formats_are_refused_with_the_reason(fields, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.Format(name="x", **fields)
    assert message in str(caught.value)


def test_unknown_format_lists_the_allowed_ones():
    with pytest.raises(fp.ArgumentError, match=r"unknown format 'pf16'; did you mean 'fp16'\?"):
        fp.as_format("pf16")
    with pytest.raises(ValueError, match="allowed: fp64, fp32"):
        fp.as_format(3.5)


def test_epsneg_is_the_distance_below_one_as_ml_dtypes_has_it():
    for f in [g for g in NAMED.values() if g.signed and g.bits <= 32]:
        info = fp.finfo(f)
        assert info.epsneg == 1 - float(fp.next_down(1.0, f)), f
        assert info.epsneg == 2.0**info.negep
    for name in ("float6_e2m3fn", "float4_e2m1fn", "float8_e4m3fn", "bfloat16"):
        theirs, ours = ml_dtypes.finfo(name), fp.finfo(name)
        assert (float(theirs.epsneg), theirs.negep) == (ours.epsneg, ours.negep)
