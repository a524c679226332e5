"""cuBLAS and cuBLASLt as `fpemu.cuda` calls them, on a CuPy that only plays one (`fake_cupy`)."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from fake_cupy import FakeLt, fake_cupy
from fake_gpu import FakeGPU

import fpemu as fp
from fpemu import cuda
from fpemu.cli.main import main
from fpemu.cuda import cublaslt
from fpemu.errors import UnsupportedError
from fpemu.verify import gpu as verify_gpu


@pytest.fixture
def gpu(monkeypatch):
    given = fake_cupy(capability="9.0", gpu=FakeGPU("9.0"))
    monkeypatch.setitem(sys.modules, "cupy", given)
    monkeypatch.setitem(sys.modules, "cupy.cuda", given.cuda)
    return cuda.device()


@pytest.fixture
def lt(monkeypatch):
    library = FakeLt()
    monkeypatch.setattr(cublaslt, "_library", lambda cupy: cublaslt.Library(library))
    return library


def integers(f: str, *shape: int) -> fp.Array:
    """Small ones, which no library rounds, so that any order is right."""
    return fp.array(np.random.default_rng(sum(shape)).integers(-2, 4, shape), f)


CASES = [
    ("fp16", "fp16", "h100 wgmma"),
    ("bf16", "bf16", "h100 mma"),
    ("tf32", "tf32", "h100 wgmma"),
    ("fp16", "fp16", "h100 mma accumulator=fp16"),
    ("fp64", "fp64", "h100 mma"),
]
FP8 = [("e4m3", "e4m3", "h100 wgmma"), ("e5m2", "e4m3", "h100 wgmma promote=128")]


@pytest.mark.parametrize(
    ("a", "b", "unit", "library"),
    [(*case, "cublas") for case in CASES] + [(*case, "cublaslt") for case in CASES + FP8],
)
def test_products(gpu, lt, a, b, unit, library):
    left, right = integers(a, 2, 5, 37), integers(b, 37, 9)
    for c in (None, integers(cuda_format(unit, a), 2, 5, 9)):
        got = cuda.matmul(left, right, c, accumulate=unit, library=library, device=gpu)
        want = left.to_numpy().astype(float) @ right.to_numpy().astype(float)
        want = want if c is None else want + c.to_numpy()
        assert got.format == cuda_format(unit, a)
        assert np.array_equal(got.to_numpy(), want)
    assert lt.alive == 0


def cuda_format(unit: str, a: str) -> fp.Format:
    return fp.MatrixUnit.parse(unit).on(a).accumulator


def test_fast_accumulation_is_no_promotion(gpu, lt):
    x = integers("e4m3", 16, 16)
    for unit, fast in (("h100 wgmma", 1), ("h100 wgmma promote=128", 0)):
        cuda.matmul(x, x, accumulate=unit, library="cublaslt", device=gpu)
        assert lt.last[25] == fast
    y = integers("fp16", 16, 16)
    cuda.matmul(y, y, accumulate="h100 wgmma", library="cublaslt", device=gpu)
    assert 25 not in lt.last


def test_a_recording_says_which_kernel_it_was(gpu, lt, tmp_path):
    x = integers("fp16", 20, 20)
    path = cuda.record(tmp_path / "x", x, x, library="cublaslt", device=gpu)
    how = cuda.read(path).about["how"]
    assert how["cuBLASLt"] == 120903
    assert (how["algorithm"], how["split-K"]) == (100, 102)
    assert cuda.replay(path).mismatches == 0
    unit = "h100 wgmma promote=128"
    y = integers("e4m3", 20, 20)
    path = cuda.record(tmp_path / "y", y, y, accumulate=unit, library="cublaslt", device=gpu)
    assert cuda.read(path).instruction.promote == 128


def test_what_the_libraries_refuse(gpu, lt):
    x, y = integers("fp16", 4, 4), integers("e4m3", 4, 4)
    with pytest.raises(UnsupportedError, match="split=2"):
        cuda.matmul(x, x, accumulate="h100 wgmma split=2", library="cublaslt", device=gpu)
    with pytest.raises(UnsupportedError, match="does not ask cuBLASLt for"):
        cuda.matmul(y, y, accumulate="h100 wgmma accumulator=fp16", library="cublaslt", device=gpu)
    lt.kernels = 0
    with pytest.raises(UnsupportedError, match="cuBLASLt 120903 has no kernel"):
        cuda.matmul(x, x, library="cublaslt", device=gpu)
    lt.cublasLtMatmul = lambda *_: 15
    lt.kernels = 1
    with pytest.raises(UnsupportedError, match=r"cublasLtMatmul gives status 15 \(not supported\)"):
        cuda.matmul(x, x, library="cublaslt", device=gpu)
    assert lt.alive == 0
    with pytest.raises(UnsupportedError, match="has no cuBLASLt"):
        cuda.matmul(x, x, library="cublaslt", device=FakeGPU("9.0"))


def test_without_cublas(gpu, monkeypatch):
    monkeypatch.delattr(gpu.cupy.cuda, "cublas")
    x = integers("fp16", 4, 4)
    for library in ("cublas", "cublaslt"):
        with pytest.raises(UnsupportedError, match="needs cuBLAS"):
            cuda.matmul(x, x, library=library, device=gpu)


def test_verify_looks_at_the_library_and_does_not_judge_it(gpu, lt, monkeypatch, capsys):
    """This cuBLASLt adds in float64, so that it differs from the chip's chain, which is no error."""
    monkeypatch.setattr(verify_gpu, "kernels", lambda chip: [])
    assert main(["verify", "--gpu", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["kernels"]
    assert [row["instruction"].split(" -> ")[0] for row in rows] == [
        "h100 wgmma m64nNk16 fp16",
        "h100 wgmma m64nNk16 bf16",
        "h100 wgmma m64nNk8 tf32",
        *["h100 wgmma m64nNk32 e4m3"] * 2,
    ]
    assert {row["kernel"] for row in rows} == {"cublasLt 100"}
    assert all(0 < row["mismatches"] <= row["samples"] == 7 * 64 * 64 for row in rows)
    assert main(["verify", "--gpu"]) == 0
    assert capsys.readouterr().out.count("(not decisive)") == 5
