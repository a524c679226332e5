"""Storage: every code of every dtype there and back, packed sub-byte codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import ML_DTYPES, assert_same

import fpemu as fp
from fpemu.formats import DTYPES


@pytest.mark.parametrize("name", [n for n, f in DTYPES.items() if f.bits <= 16])
def test_every_code_goes_to_its_dtype_and_back(name):
    f = DTYPES[name]
    codes = np.arange(1 << f.bits).astype(np.uint8 if f.bits <= 8 else np.uint16)
    dtype = fp.dtype_of(f)
    theirs = codes.view(dtype)
    x = fp.asarray(theirs)
    assert x.format == f
    assert_same(x.to_numpy(), fp.decode(codes, f), codes)
    back = x.to_ml_dtypes()
    assert back.dtype == dtype
    # All NaNs become the one positive quiet NaN.
    real = ~np.isnan(x.to_numpy())
    assert np.array_equal(back.view(codes.dtype)[real], codes[real])
    assert np.isnan(back.astype(np.float32)[~real]).all()


def test_wide_dtypes():
    values = np.array([0.1, -0.0, np.inf, 5e-324, 1e-40])
    assert fp.array(values, "fp64").to_ml_dtypes().dtype == np.float64
    single = values.astype(np.float32)
    assert np.array_equal(fp.asarray(single).to_ml_dtypes().view("u4"), single.view("u4"))
    with pytest.raises(fp.UnsupportedError, match="no NumPy or ml_dtypes dtype stores tf32"):
        fp.array(1.0, "tf32").to_ml_dtypes()
    assert set(ML_DTYPES) <= {f.name for f in DTYPES.values()}


@given(
    name=st.sampled_from(["e2m1", "e2m3", "e3m2", "e4m3", "tf32", "binary5p3se"]),
    rows=st.integers(0, 3),
    count=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_packing_is_a_stream_of_bits(name, rows, count, seed):
    f = fp.as_format(name)
    codes = np.random.default_rng(seed).integers(0, 1 << f.bits, (rows, count))
    packed = fp.pack(codes, f)
    assert packed.shape == (rows, -(-count * f.bits // 8))
    for row, stream in zip(codes, packed, strict=True):
        number = sum(int(code) << (i * f.bits) for i, code in enumerate(row))
        assert int.from_bytes(stream.tobytes(), "little") == number
    assert np.array_equal(fp.unpack(packed, f, count), codes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.pack([16], "e2m1"), "code 16 does not fit e2m1: allowed 0 to 15"),
        (lambda: fp.pack([0.5], "e2m1"), "pack takes an array of integer codes"),
        (
            lambda: fp.unpack(np.uint8([1]), "e2m1", 3),
            "3 codes of 4 bits need 2 bytes a row, got 1",
        ),
        (lambda: fp.unpack([1], "e2m1", 1), "unpack takes an array of uint8"),
    ],
)
def test_bad_storage_is_refused(call, message):
    with pytest.raises(fp.ArgumentError, match=message):
        call()
