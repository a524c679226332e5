"""What NVRTC makes of the kernels: every one compiles, and contains the machine instruction that is meant.

Needs the extra "cuda" (NVRTC; no GPU), and for the machine code nvdisasm; skipped without.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fpemu.cuda.devices import CHIPS, compiled
from fpemu.cuda.kernels import kernels
from fpemu.errors import UnsupportedError

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed"),
]


@pytest.fixture(scope="module")
def nvrtc():
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC is missing: {error}")
    return cupy.cuda.nvrtc


def disassembler() -> str | None:
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for found in Path(folder).glob("*/bin/nvdisasm"):
            return str(found)
    return shutil.which("nvdisasm")


# Chip | kernel | machine instructions of one step.
MACHINE_CODE = """
v100  | mma_m8n8k4_f32_f16_f16         | 1 HMMA.884.F32.F32.STEP0
v100  | mma_m8n8k4_f16_f16_f16         | 1 HMMA.884.F16.F16.STEP0
v100  | wmma_m16n16k16_f32_f16_f16     | 4 HMMA.884.F32.F32.STEP0
v100  | wmma_m16n16k16_f16_f16_f16     | 4 HMMA.884.F16.F16.STEP0
t4    | mma_m16n8k8_f32_f16_f16        | 1 HMMA.1688.F32
t4    | mma_m16n8k8_f16_f16_f16        | 1 HMMA.1688.F16
t4    | mma_m8n8k4_f32_f16_f16         | 1 HMMA.884.F32.F32.STEP0
t4    | wmma_m16n16k16_f32_f16_f16     | 4 HMMA.1688.F32
a100  | mma_m16n8k16_f32_f16_f16       | 1 HMMA.16816.F32
a100  | mma_m16n8k16_f16_f16_f16       | 1 HMMA.16816.F16
a100  | mma_m16n8k8_f32_f16_f16        | 1 HMMA.1688.F32
a100  | mma_m16n8k16_f32_bf16_bf16     | 1 HMMA.16816.F32.BF16
a100  | mma_m16n8k8_f32_bf16_bf16      | 1 HMMA.1688.F32.BF16
a100  | mma_m16n8k8_f32_tf32_tf32      | 1 HMMA.1688.F32.TF32
a100  | mma_m16n8k4_f32_tf32_tf32      | 1 HMMA.1684.F32.TF32
a100  | wmma_m16n16k16_f32_f16_f16     | 2 HMMA.16816.F32
a100  | wmma_m16n16k16_f32_bf16_bf16   | 2 HMMA.16816.F32.BF16
a100  | mma_m8n8k4_f64_f64_f64         | 1 DMMA.884
ada   | mma_m16n8k32_f32_e4m3_e4m3     | 1 QMMA.16832.F32.E4M3.E4M3
ada   | mma_m16n8k32_f16_e5m2_e4m3     | 1 QMMA.16832.F16.E5M2.E4M3
ada   | mma_m16n8k16_f32_e4m3_e4m3     | 1 QMMA.16816.F32.E4M3.E4M3
h100  | mma_m16n8k16_f32_f16_f16       | 1 HMMA.16816.F32
h100  | wmma_m16n16k16_f32_f16_f16     | 2 HMMA.16816.F32
h100  | mma_m16n8k8_f32_tf32_tf32      | 1 HMMA.1688.F32.TF32
h100  | wmma_m16n16k8_f32_tf32_tf32    | 4 HMMA.1684.F32.TF32
h100  | mma_m16n8k32_f32_e4m3_e4m3     | 2 HMMA.16816.F32, 4 FADD
h100  | mma_m16n8k32_f16_e4m3_e4m3     | 2 HMMA.16816.F16, 2 HADD2
h100  | mma_m8n8k4_f64_f64_f64         | 1 DMMA.8x8x4
h100  | wgmma_m64n64k16_f32_f16_f16    | 1 HGMMA.64x64x16.F32, 1 FENCE.VIEW.ASYNC, 1 WARPGROUP.ARRIVE
h100  | wgmma_m64n64k16_f16_f16_f16    | 1 HGMMA.64x64x16.F16
h100  | wgmma_m64n64k16_f32_bf16_bf16  | 1 HGMMA.64x64x16.F32.BF16
h100  | wgmma_m64n64k8_f32_tf32_tf32   | 1 HGMMA.64x64x8.F32.TF32
h100  | wgmma_m64n64k32_f32_e4m3_e4m3  | 1 QGMMA.64x64x32.F32.E4M3.E4M3
h100  | wgmma_m64n64k32_f16_e4m3_e5m2  | 1 QGMMA.64x64x32.F16.E4M3.E5M2
b200  | mma_m16n8k16_f32_f16_f16       | 1 HMMA.16816.F32
b200  | mma_m16n8k32_f32_e4m3_e4m3     | 2 HMMA.16816.F32, 4 FADD
b200  | wmma_m16n16k8_f32_tf32_tf32    | 4 HMMA.1684.F32.TF32
b200  | tcgen05_m128n64k16_f32_f16_f16 | 1 UTCHMMA, 1 UTCBAR, 1 STTM.x64, 1 LDTM.x64
b200  | tcgen05_m128n64k8_f32_tf32_tf32 | 1 UTCHMMA
b200  | tcgen05_m128n64k32_f32_e5m2_e4m3 | 1 UTCQMMA
rtx50 | mma_m16n8k16_f32_bf16_bf16     | 1 HMMA.16816.F32.BF16
rtx50 | mma_m16n8k32_f32_e4m3_e4m3     | 1 QMMA.16832.F32.E4M3.E4M3
rtx50 | mma_m16n8k32_f16_e2m1_e3m2     | 1 QMMA.16832.F16.E2M1.E3M2
"""
LINES = [[cell.strip() for cell in line.split("|")] for line in MACHINE_CODE.strip().splitlines()]
DIGITS = {chip: number.replace(".", "") for number, chip in CHIPS.items() if number != "8.6"}


def found_in(text: str) -> Counter:
    """How often each machine instruction stands in a disassembly."""
    words = re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z][\w.]*)", text, re.MULTILINE)
    return Counter(words)


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line[:2]))
def test_machine_instructions(nvrtc, tmp_path, line):
    chip, name, wanted = line
    if (tool := disassembler()) is None:
        pytest.skip("nvdisasm is missing")
    (kernel,) = (k for k in kernels(chip) if k.name == name)
    path = tmp_path / "kernel.cubin"
    path.write_bytes(compiled(kernel, DIGITS[chip], nvrtc))
    done = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=False)
    if "is deprecated" in done.stderr:
        pytest.skip(done.stderr.strip())
    found = found_in(done.stdout)
    multiplying = {
        op
        for op in found
        if op.split(".")[0] in ("HMMA", "QMMA", "DMMA", "HGMMA", "QGMMA", "UTCHMMA", "UTCQMMA")
    }
    for each in wanted.split(", "):
        count, op = each.split()
        exact = "MMA" in op  # suffixes of the others vary with the compiler
        matching = sum(n for o, n in found.items() if o == op or (not exact and o.startswith(op)))
        assert matching == int(count), found
    steps = {op for op in multiplying if "STEP" in op}
    assert len(multiplying - steps) <= 1, "another instruction multiplies, too"


@pytest.mark.parametrize("chip", DIGITS)
def test_every_kernel_compiles(nvrtc, chip):
    if chip == "v100" and nvrtc.getVersion() >= (13, 0):
        pytest.skip("CUDA 13 no longer compiles for V100")
    for kernel in kernels(chip):
        if "_e" not in kernel.name or "e4m3" in kernel.name:
            assert compiled(kernel, DIGITS[chip], nvrtc).startswith(b"\x7fELF")


def test_what_the_compiler_says_is_passed_on(nvrtc):
    (kernel,) = (k for k in kernels("ada") if k.name == "mma_m16n8k32_f32_e4m3_e4m3")
    with pytest.raises(
        UnsupportedError, match=r"NVRTC does not compile mma\.sync.*sm_75.*newer CUDA"
    ):
        compiled(kernel, "75", nvrtc)
