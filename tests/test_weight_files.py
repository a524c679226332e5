"""safetensors files: codes in, codes out, whole or not at all."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn


def written(path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """A file made from its definition: the length of the header, the header as JSON, the bytes."""
    header, data = {}, b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_codes_are_read_exactly(tmp_path):
    path = tmp_path / "w.safetensors"
    bytes_ = bytes(range(256))
    halves = np.arange(0, 65536, 7, dtype="<u2")
    written(
        path,
        {
            "fp8": ("F8_E4M3", [16, 16], bytes_),
            "fp8'": ("F8_E5M2", [256], bytes_),
            "bf16": ("BF16", [len(halves)], halves.tobytes()),
            "fp16": ("F16", [len(halves)], halves.tobytes()),
            "fp32": ("F32", [2], np.float32([0.1, -3]).tobytes()),
            "count": ("I64", [], np.int64(7).tobytes()),
        },
    )
    found = nn.load_safetensors(path)
    for name, codes, f in (
        ("fp8", np.arange(256).reshape(16, 16), fp.E4M3),
        ("fp8'", np.arange(256), fp.E5M2),
        ("bf16", halves, fp.BF16),
        ("fp16", halves, fp.FP16),
    ):
        array = found[name]
        assert array.format == f
        number = ~np.isnan(array.to_numpy())  # all NaNs are one
        assert (array.codes[number] == codes[number]).all()
        assert number.any()
    assert found["fp32"].tolist() == np.float32([0.1, -3]).tolist()
    assert found["count"].item() == 7


@pytest.mark.parametrize("name", ["fp32", "bf16", "e4m3", "e5m2", "fp64", "tf32", "e3m2"])
def test_a_model_comes_back_as_it_was(tmp_path, name):
    path = tmp_path / "model.safetensors"
    fp.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))
    model.store_in(name, saturation="finite")
    nn.save_safetensors(model, path)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))
    other.store_in(name, saturation="finite")
    assert (other[0].weight.numpy() != model[0].weight.numpy()).any()
    other.load_state_dict(path)
    for key, value in model.state_dict().items():
        assert (other.state_dict()[key] == value).all()
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(fp.ArgumentError, match="is no safetensors file"):
        nn.load_safetensors(path)
    written(path, {"x": ("F8_E8M0", [1], b"\0")})
    with pytest.raises(
        fp.UnsupportedError, match=r"'x' in .* has the format F8_E8M0; allowed: F64"
    ):
        nn.load_safetensors(path)
    written(path, {"weight": ("F32", [1, 1], b"\0\0\0\0")})
    with pytest.raises(fp.ArgumentError, match=r"missing \['bias'\]"):
        nn.Linear(1, 1).load_state_dict(str(path))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(fp.MissingExtraError, match=r"pip install 'fpemu\[interop\]'"):
        nn.load_safetensors(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    nn.save_safetensors({"x": np.float32([1.0])}, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        nn.save_safetensors({"x": np.float32([2.0])}, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.torch
def test_files_of_pytorchs_and_for_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    path = tmp_path / "w.safetensors"
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).bfloat16()
    save_file(theirs.state_dict(), path)
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours.load_state_dict(path)
    for key, value in theirs.state_dict().items():
        assert (ours.state_dict()[key] == value.float().numpy()).all()
    for kind in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16):
        x = torch.randn(64).to(kind)
        save_file({"x": x}, path)
        found = nn.load_safetensors(path)
        codes = x.view(torch.uint8 if x.element_size() == 1 else torch.int16).numpy()
        assert (found["x"].codes.view(codes.dtype) == codes).all()
        nn.save_safetensors(found, path)
        back = load_file(path)["x"]
        assert back.dtype == kind
        assert (back.view(torch.uint8) == x.view(torch.uint8)).all()
        # A tensor itself, without a file.
        layer = nn.Linear(1, 64, bias=False)
        layer.load_state_dict({"weight": x[:, None]})
        assert (layer.weight.numpy()[:, 0] == x.float().numpy()).all()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(fp.ArgumentError, match=r"cannot read .*No such file"):
        nn.load_safetensors(tmp_path / "none.safetensors")
