"""The layouts of the GPU kernels' words, against the PTX manual's formulas and CuTe's strides."""

from __future__ import annotations

import itertools

import fake_gpu
import numpy as np
import pytest

from fpemu.cuda import fragments
from fpemu.cuda.devices import CHIPS
from fpemu.cuda.fragments import pack, unpack
from fpemu.cuda.kernels import kernel, kernels
from fpemu.matrix_units import MatrixUnit

EVERY = {k: None for chip in sorted(set(CHIPS.values())) for k in kernels(chip)}
DISTINCT = {(k.name, k.tile): k for k in EVERY}.values()


def of(unit: str, f: str):
    return kernel(MatrixUnit.parse(unit).on(f))


def listed(layout) -> list[list[tuple[int, int]]]:
    return [
        list(zip(rows, columns, strict=True))
        for rows, columns in zip(layout.rows.tolist(), layout.columns.tolist(), strict=True)
    ]


@pytest.mark.parametrize("kernel", DISTINCT, ids=lambda k: k.name)
def test_layouts_are_the_manuals(kernel):
    for part in "abd":
        assert listed(getattr(kernel, part)) == fake_gpu.places(kernel, part), part


def by_strides(shape, strides, bits, per, rows):
    """CuTe's (thread, value) -> place, the first coordinate running fastest in shapes and in places."""

    def offsets(shape, strides):
        grid = itertools.product(*(range(n) for n in reversed(shape)))
        return [sum(i * s for i, s in zip(reversed(c), strides, strict=True)) for c in grid]

    threads, values = (offsets(n, s) for n, s in zip(shape, strides, strict=True))
    return [
        [((t + v) % rows, (t + v) // rows) for v in values[w : w + per]]
        for w in range(0, len(values), per)
        for t in threads
    ]


# Unit, format, part, elements to a word, rows, CuTe's shape and strides, from CUTLASS's mma_traits.
CUTE = [
    ("a100 mma", "fp16", "a", 2, 16, ((4, 8), (2, 2, 2)), ((32, 1), (16, 8, 128))),
    ("a100 mma", "fp16", "b", 2, 8, ((4, 8), (2, 2)), ((16, 1), (8, 64))),
    ("a100 mma", "fp16", "d", 1, 16, ((4, 8), (2, 2)), ((32, 1), (16, 8))),
    ("a100 mma accumulator=fp16", "fp16", "d", 2, 16, ((4, 8), (2, 2)), ((32, 1), (16, 8))),
    ("t4 mma", "fp16", "a", 2, 16, ((4, 8), (2, 2)), ((32, 1), (16, 8))),
    ("t4 mma", "fp16", "b", 2, 8, ((4, 8), (2,)), ((16, 1), (8,))),
    ("a100 mma", "tf32", "a", 1, 16, ((4, 8), (2, 2)), ((16, 1), (8, 64))),
    ("a100 mma", "tf32", "b", 1, 8, ((4, 8), (2,)), ((8, 1), (32,))),
    ("a100 mma shape=m16n8k4", "tf32", "a", 1, 16, ((4, 8), (2,)), ((16, 1), (8,))),
    ("a100 mma shape=m16n8k4", "tf32", "b", 1, 8, ((4, 8), (1,)), ((8, 1), (0,))),
    ("a100 mma", "fp64", "a", 1, 8, ((4, 8), (1,)), ((8, 1), (0,))),
    ("a100 mma", "fp64", "d", 1, 8, ((4, 8), (2,)), ((16, 1), (8,))),
    ("ada mma", "e4m3", "a", 4, 16, ((4, 8), (4, 2, 2)), ((64, 1), (16, 8, 256))),
    ("ada mma", "e4m3", "b", 4, 8, ((4, 8), (4, 2)), ((32, 1), (8, 128))),
    ("h100 wgmma", "fp16", "d", 1, 64, ((4, 8, 4), (2, 2, 8)), ((128, 1, 16), (64, 8, 512))),
]


@pytest.mark.parametrize("line", CUTE, ids=lambda line: " ".join(line[:3]))
def test_layouts_are_cutes(line):
    unit, f, part, per, rows, shape, strides = line
    found = getattr(of(unit, f), part)
    assert listed(found) == by_strides(shape, strides, found.bits, per, rows)


# The same for a quad pair of Volta: eight threads, 0-3 and 16-19, of 32.
QUADS = [
    ("v100 mma", "a", 2, ((8,), (4,)), ((1,), (8,))),
    ("v100 mma", "b", 2, ((8,), (4,)), ((1,), (8,))),
    ("v100 mma", "d", 1, ((2, 2, 2), (2, 2, 2)), ((1, 16, 4), (8, 2, 32))),
    ("v100 mma accumulator=fp16", "d", 2, ((8,), (8,)), ((1,), (8,))),
]


@pytest.mark.parametrize("line", QUADS, ids=lambda line: " ".join(line[:2]))
def test_layouts_of_quad_pairs_are_cutes(line):
    unit, part, per, shape, strides = line
    layout = getattr(of(unit, "fp16"), part)
    words = listed(layout)
    for quad in range(4):
        lanes = [4 * quad + i + 16 * high for high in (0, 1) for i in range(4)]
        own = [
            words[32 * register + lane] for register in range(len(words) // 32) for lane in lanes
        ]
        below = 0 if part == "b" else 8 * quad
        want = by_strides(shape, strides, 32, per, 8)
        assert own == [[(row + below, column) for row, column in word] for word in want]


@pytest.mark.parametrize("kernel", DISTINCT, ids=lambda k: k.name)
def test_words_hold_a_tile_and_give_it_back(kernel):
    rows, columns, depth = kernel.tile
    rng = np.random.default_rng(0)
    for part, shape in (("a", (rows, depth)), ("b", (columns, depth)), ("d", (rows, columns))):
        layout = getattr(kernel, part)
        tiles = rng.integers(0, 1 << min(layout.width, 63), (2, 3, *shape), dtype=np.uint64)
        words = pack(tiles, layout)
        assert words.shape == (2, 3, layout.words)
        assert words.dtype == layout.dtype
        assert np.array_equal(unpack(words, layout, shape), tiles)
        places = {place for word in listed(layout) for place in word}
        assert places == set(np.ndindex(shape))


def test_low_bits_come_first():
    layout = fragments.in_memory(1, 4, 8)
    assert pack(np.array([[0x11, 0x22, 0x33, 0x44]]), layout).tolist() == [0x44332211]
