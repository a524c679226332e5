"""Arrays in files, pickles, copies and other people's buffers."""

from __future__ import annotations

import copy
import io
import math
import pickle

import ml_dtypes
import numpy as np
import pytest
from oracles import assert_same

import fpemu as fp
from fpemu.formats import NAMED

EVERY = [*NAMED.values(), fp.p3109(8, 3), fp.p3109(15, 1), fp.Format("mine", 4, 2, bias=3)]


def some(f: fp.Format) -> fp.Array:
    codes = np.random.default_rng(1).integers(0, min(f.max_code, 2**62), 24).astype(np.uint64)
    return fp.array(fp.decode(codes, f), f).reshape(2, 3, 4)


@pytest.mark.parametrize("f", EVERY, ids=str)
def test_files_and_pickles_bring_everything_back(f, tmp_path):
    x = some(f)
    path = tmp_path / "x.npy"
    np.save(path, x)
    for again in (
        fp.load(path),
        fp.asarray(np.load(path)),
        pickle.loads(pickle.dumps(x)),
        copy.deepcopy(x),
    ):
        assert again.format == f
        assert again.codes.tolist() == x.codes.tolist()
        assert again.shape == (2, 3, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_the_file_is_an_ordinary_one_that_names_the_format(tmp_path):
    x = fp.array([1.0, -2.0], "bf16")
    fp.save(tmp_path / "x", x)  # as numpy.save, adds ".npy"
    stored = np.load(tmp_path / "x.npy")
    assert stored.dtype.names == ("fpemu bf16",)
    assert stored["fpemu bf16"].tolist() == [0x3F80, 0xC000]
    assert stored.dtype["fpemu bf16"] == np.dtype("<u2")


def test_nan_infinities_and_signed_zeros_survive():
    x = fp.array([math.nan, math.inf, -math.inf, -0.0], "fp16")
    buffer = io.BytesIO()
    fp.save(buffer, x)
    buffer.seek(0)
    assert_same(fp.load(buffer).to_numpy(), x.to_numpy(), [0] * 4)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    fp.save(path, fp.array([1.0], "fp16"))
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="no space left"):
        fp.save(path, fp.array(np.zeros(1000), "fp16"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_what_is_no_array_is_refused(tmp_path):
    np.save(tmp_path / "ints.npy", np.arange(3))
    with pytest.raises(fp.ArgumentError, match="dtype int64 has no format of its own"):
        fp.load(tmp_path / "ints.npy")
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(fp.ArgumentError, match="cannot read an Array"):
        fp.load(tmp_path / "text.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(fp.ArgumentError, match="holds several arrays"):
        fp.load(tmp_path / "two.npz")
    odd = np.zeros(2, [("fpemu nosuch", "u1")])
    with pytest.raises(fp.ArgumentError, match="a stored array says format 'nosuch'"):
        fp.asarray(odd)
    np.save(tmp_path / "plain.npy", np.float32([0.5]))
    assert fp.load(tmp_path / "plain.npy").format == fp.FP32


def test_views_of_buffers_copy_nothing():
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.float16, np.float32):
        buffer = np.array([[1.0, -0.5], [np.nan, 2.0]], dtype)
        x = fp.asarray(buffer, copy=False)
        assert np.shares_memory(x.codes, buffer)
        assert np.shares_memory(x.to_ml_dtypes(), buffer)
        assert (x.shape, x.ndim, x.size) == ((2, 2), 2, 4)
        assert_same((x + x).to_numpy(), buffer.astype(np.float32) * 2, buffer.astype(float))
        assert_same(x.to_numpy(), fp.asarray(buffer).to_numpy(), buffer.astype(float))
        with pytest.raises(ValueError, match="read-only"):
            x.codes[0] = 0
        buffer[0, 0] = 4  # the buffer itself stays its owner's
    strided = np.arange(8, dtype=np.float16)[::2]
    assert fp.asarray(strided, copy=False).tolist() == [0, 2, 4, 6]
    with pytest.raises(fp.UnsupportedError, match="byte-swapped"):
        fp.asarray(np.arange(3, dtype=">f2"), copy=False)
