"""Which words the kernels load, and where they put them: their CUDA source compiled for this processor.

The matrix instruction is replaced by a mixture of its operands that no exchange of words leaves alone.
Skipped without g++.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from fpemu.cuda.kernels import Kernel, kernel
from fpemu.matrix_units import MatrixUnit

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")

UNITS = [
    ("a100 mma", "fp16", None),
    ("a100 mma accumulator=fp16", "fp16", None),
    ("v100 mma", "fp16", None),
    ("a100 mma", "fp64", None),
    ("ada mma", "e4m3", None),
    ("a100 mma", "bf16", "wmma"),
    ("a100 mma accumulator=fp16", "fp16", "wmma"),
    ("h100 mma shape=m16n8k4", "tf32", "wmma"),
    ("h100 wgmma", "fp16", None),
    ("h100 wgmma accumulator=fp16", "e4m3", None),
    ("b200 tcgen05", "tf32", None),
]
PRELUDE = """
#include <cstddef>
#include <cstdint>
#define __global__
#define __launch_bounds__(n)
#define __align__(n)
#define __shared__ static
#define __syncthreads()
#define __syncwarp()
#define __trap()
#define __cvta_generic_to_shared(p) ((unsigned long long)0)
#define __cvta_generic_to_global(p) ((const uint32_t*)(p))
typedef const uint32_t* at;
struct { unsigned x; } blockIdx, threadIdx;
uint32_t* SEEN[2];
extern "C" void place(unsigned block, unsigned thread) { blockIdx.x = block; threadIdx.x = thread; }
extern "C" uint32_t seen(int which, int word) { return SEEN[which][word]; }
"""
SEEN = 3  # words of each operand that stand for a tile in memory


def on_this_processor(kernel: Kernel) -> str:
    """The source with its inline PTX replaced."""
    word = "unsigned long long" if kernel.d.bits == 64 else "unsigned"

    def replaced(match: re.Match) -> str:
        text = match[0]
        operands = re.findall(r'"([+=]?)[rl]"\(((?:[^()]|\([^()]*\))*)\)', text)
        changed = [name for mark, name in operands if mark]
        given = [name for mark, name in operands if not mark]
        if "fence" in text.split("%")[0] and "wgmma" not in text:
            return ""
        if "try_wait" in text:
            return "there = 1;"
        if "wgmma" in text or "tcgen05.mma" in text:
            return "SEEN[0] = left; SEEN[1] = right;"
        if "tcgen05" in text or "mbarrier" in text:  # sums go through tensor memory as they are
            return ";"
        if "wmma.load.c" in text:
            loads = [f"{name} = p[{i}];" for i, name in enumerate(changed)]
            return f"{{ at p = {given[0]}; {' '.join(loads)} }}"
        if "wmma.store" in text:
            stores = [f"p[{i}] = {name};" for i, name in enumerate(given[1:])]
            return f"{{ uint32_t* p = (uint32_t*){given[0]}; {' '.join(stores)} }}"
        if "wmma.load.a" in text:
            given = [f"({pointer})[{i}]" for pointer in given for i in range(SEEN)]
        mixed = [
            f"{name} = {name} * 3 + {' + '.join(f'{i + 7 * r + 1} * in[{i}]' for i in range(len(given)))};"
            for r, name in enumerate(changed)
        ]
        return f"{{ const {word} in[] = {{ {', '.join(given)} }}; {' '.join(mixed)} }}"

    return PRELUDE + re.sub(r"asm volatile\(.*?\);(?=\n)", replaced, kernel.source, flags=re.DOTALL)


def mixed(start: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What the replaced instruction makes of registers (..., r) and operands (..., i)."""
    r, i = np.arange(start.shape[-1]), np.arange(given.shape[-1])
    factors = (i + 7 * r[:, None] + 1).astype(start.dtype)
    return start * start.dtype.type(3) + (given[..., None, :] * factors).sum(-1, dtype=start.dtype)


def expected(kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    rows, steps, _ = a.shape
    columns = b.shape[0]
    if kernel.in_shared_memory:
        return c
    per = 1 if kernel.api == "wmma" else kernel.threads  # in memory a tile is nobody's registers
    registers = c.reshape(rows, columns, -1, per).swapaxes(2, 3)
    if kernel.api == "wmma":
        a, b = a[:, :, :SEEN], b[:, :, :SEEN]
        registers = registers[..., : kernel.d.words // 32]
    left = a.reshape(rows, 1, steps, -1, per).swapaxes(3, 4)
    right = b.reshape(1, columns, steps, -1, per).swapaxes(3, 4)
    left, right = (np.broadcast_to(x, (rows, columns, *x.shape[2:])) for x in (left, right))
    for step in range(steps):
        registers = mixed(registers, np.concatenate([left[:, :, step], right[:, :, step]], -1))
    found = c.copy()
    if kernel.api == "wmma":
        found[..., : kernel.d.words // 32] = registers[:, :, 0]
        return found
    return registers.swapaxes(2, 3).reshape(c.shape)


@pytest.mark.parametrize("line", UNITS, ids=lambda line: f"{line[0]} {line[1]} {line[2] or ''}")
def test_every_word_goes_where_it_should(tmp_path, line):
    unit, f, api = line
    made = kernel(MatrixUnit.parse(unit).on(f), api)
    source = tmp_path / "kernel.cpp"
    source.write_text(on_this_processor(made))
    command = [
        "g++",
        "-O0",
        "-w",
        "-shared",
        "-fPIC",
        "-o",
        str(tmp_path / "kernel.so"),
        str(source),
    ]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(tmp_path / "kernel.so"))
    rng = np.random.default_rng(0)
    rows, columns, steps = 2, 3, 4
    a, b, c = (
        rng.integers(0, 1 << 31, shape).astype(made.d.dtype)
        for shape in (
            (rows, steps, made.a.words),
            (columns, steps, made.b.words),
            (rows, columns, made.d.words),
        )
    )
    d = c.copy() if made.api == "wmma" else np.zeros_like(c)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c, d)]
    for block in range(rows * columns):
        for thread in range(1 if made.api == "wmma" else made.threads):
            library.place(block, thread)
            getattr(library, made.name)(*pointers, steps, columns)
        if made.in_shared_memory:
            library.seen.restype = ctypes.c_uint32
            for which, operand, index in ((0, a, block // columns), (1, b, block % columns)):
                shared = [library.seen(which, word) for word in range(operand.shape[-1])]
                assert shared == operand[index, -1].tolist()
    assert np.array_equal(d, expected(made, a, b, c))
