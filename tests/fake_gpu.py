"""A GPU that is none: reads the words of the kernels by the formulas of NVIDIA's PTX manual, written down here
a second time, and multiplies with the emulation, or with what a test plants instead."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fpemu.carriers import carrier_dtype
from fpemu.convert import codes_of, decode
from fpemu.cuda.kernels import Kernel
from fpemu.matrix_units import multiply

NAMES = {
    "7.0": "Tesla V100-SXM2-16GB",
    "7.5": "Tesla T4",
    "8.0": "NVIDIA A100-SXM4-40GB",
    "8.9": "NVIDIA L4",
    "9.0": "NVIDIA H100 80GB HBM3",
    "10.0": "NVIDIA B200",
    "12.0": "NVIDIA GeForce RTX 5090",
}

# Shape, bits of an element, operand -> the place (row, k) or (column, k) of the i-th element that a lane
# holds, g being its groupID and t its threadID_in_group.
MANUAL = {
    ("m16n8k16", 16, "a"): lambda g, t, i: (
        g if i < 2 or 4 <= i < 6 else g + 8,
        t * 2 + (i & 1) + (0 if i < 4 else 8),
    ),
    ("m16n8k16", 16, "b"): lambda g, t, i: (g, t * 2 + (i & 1) + (0 if i < 2 else 8)),
    ("m16n8k8", 16, "a"): lambda g, t, i: (g if i < 2 else g + 8, t * 2 + (i & 1)),
    ("m16n8k8", 16, "b"): lambda g, t, i: (g, t * 2 + i),
    ("m16n8k8", 32, "a"): lambda g, t, i: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
    ("m16n8k8", 32, "b"): lambda g, t, i: (g, t + 4 * i),
    ("m16n8k4", 32, "a"): lambda g, t, i: (g + 8 * i, t),
    ("m16n8k4", 32, "b"): lambda g, t, i: (g, t),
    ("m16n8k32", 8, "a"): lambda g, t, i: (
        g if i < 4 or 8 <= i < 12 else g + 8,
        t * 4 + (i & 3) + (0 if i < 8 else 16),
    ),
    ("m16n8k32", 8, "b"): lambda g, t, i: (g, t * 4 + (i & 3) + (0 if i < 4 else 16)),
    ("m16n8k16", 8, "a"): lambda g, t, i: (g if i < 4 else g + 8, t * 4 + (i & 3)),
    ("m16n8k16", 8, "b"): lambda g, t, i: (g, t * 4 + i),
    ("m8n8k4", 64, "a"): lambda g, t, i: (g, t),
    ("m8n8k4", 64, "b"): lambda g, t, i: (g, t),
}


def width_of(f) -> int:
    return {"tf32": 32}.get(f.name, max(8, f.bits))


@functools.cache
def places(kernel: Kernel, part: str) -> list[list[tuple[int, int]]]:
    """For every word of a tile the places of its elements, from the low bits up."""
    rows, columns, depth = kernel.tile
    made = kernel.instruction
    width = width_of({"a": made.a, "b": made.b, "d": made.accumulator}[part])
    lines = {"a": rows, "b": columns, "d": rows}[part]
    if kernel.api == "wmma":
        flat = list(np.ndindex(lines, columns if part == "d" else depth))
        return [flat[i : i + 32 // width] for i in range(0, len(flat), 32 // width)]
    if kernel.in_shared_memory and part != "d":
        return _in_shared_memory(kernel, lines, width)
    word = 64 if made.a.name == "fp64" else 32
    per, count = word // width, 0
    found = {}
    for thread in range(kernel.threads):
        for i in range(65):
            place = _place(kernel, part, width, thread, i)
            if place is None:
                break
            found.setdefault((i // per) * kernel.threads + thread, []).append(place)
            count += 1
    assert sorted(found) == list(range(len(found)))
    return [found[w] for w in range(len(found))]


def _place(kernel: Kernel, part: str, width: int, thread: int, i: int):
    """Where the i-th element of a thread lies; None after its last."""
    lane, g, t = thread % 32, thread % 32 >> 2, thread % 4
    rows, columns, depth = kernel.tile
    made = kernel.instruction
    if kernel.api == "tcgen05":
        return (thread, i) if i < columns else None
    quads = made.shape == "m8n8k4" and made.a.name == "fp16"
    if quads:
        low, quad = lane < 16, (lane % 16) // 4  # MMA computation 1 to 4
        row = lane % 4 if low else lane % 4 + 4
        if part != "d":
            return (8 * quad * (part == "a") + row, i) if i < 4 else None
        if i >= 8:
            return None
        if width == 16:
            return 8 * quad + row, i
        row = (lane & 1) + (i & 2)
        return 8 * quad + (row if low else row + 4), (i & 4) + (lane & 2) + (i & 1)
    if part != "d":
        size = (rows if part == "a" else columns) * depth // 32
        return MANUAL[made.shape, width, part](g, t, i) if i < size else None
    if made.a.name == "fp64":
        return (g, t * 2 + i) if i < 2 else None
    if i >= rows * columns // kernel.threads:
        return None
    row = 16 * (thread // 32) + (g if i % 4 < 2 else g + 8)
    return row, 8 * (i // 4) + t * 2 + (i & 1)


def _in_shared_memory(kernel: Kernel, lines: int, width: int, groups: int = 256, along: int = 128):
    """The canonical layout without swizzle: rows of 16 bytes by eights, whose distances a descriptor says."""
    per = 32 // width
    found = {}
    for row in range(lines):
        for k in range(kernel.tile[2]):
            byte = k * width // 8
            at = row % 8 * 16 + row // 8 * groups + byte // 16 * along + byte % 16
            found.setdefault(at // 4, {})[at % 4 * 8 // width] = (row, k)
    assert all(len(word) == per for word in found.values())
    return [[found[w][i] for i in range(per)] for w in sorted(found)]


class FakeGPU:
    """`compute` replaces the emulation; `swapped` takes the descriptors of wgmma the other way."""

    def __init__(self, capability: str, compute=None, swapped: bool = False, read=places) -> None:
        self.facts = {
            "name": NAMES[capability],
            "compute capability": capability,
            **{"driver": "0", "CUDA runtime": "0", "NVRTC": "0", "CuPy": "0"},
        }
        self.compute = compute or (lambda kernel, a, b, c: multiply(a, b, kernel.instruction, c))
        self.swapped, self.read = swapped, read
        self.ran: list[str] = []

    def run(self, kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        self.ran.append(kernel.name)
        assert a.shape[1] == b.shape[1]
        assert c.shape[:2] == (a.shape[0], b.shape[0])
        rows, columns, depth = kernel.tile
        made = kernel.instruction
        left = self.values(kernel, "a", a, made.a, (rows, depth))
        right = self.values(kernel, "b", b, made.b, (columns, depth))
        start = self.values(kernel, "d", c, made.accumulator, (rows, columns))
        found = np.empty_like(c)
        for i, j in np.ndindex(c.shape[:2]):
            x, y = np.concatenate(list(left[i]), 1), np.concatenate(list(right[j]), 1).T
            result = self.compute(kernel, x, y, start[i, j])
            found[i, j] = self.words(kernel, np.asarray(result, carrier_dtype(made.accumulator)))
        return found

    def values(self, kernel: Kernel, part: str, words: np.ndarray, f, shape) -> np.ndarray:
        width = width_of(f)
        bits = np.zeros((*words.shape[:-1], *shape), np.uint64)
        for w, elements in enumerate(self.places(kernel, part)):
            for i, place in enumerate(elements):
                shift, mask = np.uint64(i * width), np.uint64((1 << width) - 1)
                bits[(..., *place)] = words[..., w].astype(np.uint64) >> shift & mask
        unused = {"tf32": 13, "e2m1": 2}.get(f.name, 0)
        return decode(bits >> np.uint64(unused), f)

    def words(self, kernel: Kernel, values: np.ndarray) -> np.ndarray:
        f = kernel.instruction.accumulator
        codes = codes_of(values, f).astype(np.uint64)
        return np.array(
            [
                sum(int(codes[place]) << i * f.bits for i, place in enumerate(elements))
                for elements in self.read(kernel, "d")
            ],
            np.uint64,
        )

    def places(self, kernel: Kernel, part: str):
        if self.swapped != kernel.swapped and kernel.in_shared_memory and part != "d":
            # What the kernel says of one distance is taken for the other.
            lines = kernel.tile[0 if part == "a" else 1]
            plain = _in_shared_memory(kernel, lines, width_of(kernel.instruction.a), 128, 256)
            return [*plain, *[[]] * (8 * lines - len(plain))]
        return self.read(kernel, part)


def coarser(kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """A chip that keeps one bit less than the table says: it passes for right on small integers."""
    made = kernel.instruction
    return multiply(a, b, dataclasses.replace(made, bits=made.bits - 1), c)
