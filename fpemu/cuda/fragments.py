"""Where the elements of a tile lie in the words that a kernel reads and writes.

A kernel moves words only. Which element of a matrix stands where in them is settled here, in NumPy, where
it can be tested without a GPU: `pack` puts codes into words, `unpack` takes them out.

For ``mma.sync`` the words are the registers of a warp (word = register * 32 + lane), for ``wmma`` a tile as
it lies in memory, for ``wgmma`` and ``tcgen05`` the image in shared memory, and the registers of four
warps for the result. The right operand is laid out as its transpose, (n, k).

Sources: PTX ISA, "Matrix Fragments for mma" and "Shared Memory Matrix Layout" of wgmma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WARP = np.arange(32)


@dataclass(frozen=True, eq=False)
class Layout:
    """Word w of a tile holds, from its low bits up, the elements (rows[w, i], columns[w, i]).

    `rows` and `columns` have the shape (words, elements per word); a word has `bits` bits.
    """

    rows: np.ndarray
    columns: np.ndarray
    bits: int = 32

    @property
    def words(self) -> int:
        """How many words a tile takes."""
        return self.rows.shape[0]

    @property
    def width(self) -> int:
        """Bits per element."""
        return self.bits // self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """The unsigned integer that is a word."""
        return np.dtype(f"u{self.bits // 8}")


def pack(tiles: np.ndarray, layout: Layout) -> np.ndarray:
    """The words, shape (..., words), of tiles of elements' bits, shape (..., rows, columns).

    >>> pack(np.arange(128).reshape(16, 8), accumulators(1))[:2].tolist()
    [0, 2]
    """
    elements = np.asarray(tiles)[..., layout.rows, layout.columns].astype(np.uint64)
    places = np.arange(elements.shape[-1], dtype=np.uint64) * np.uint64(layout.width)
    return np.bitwise_or.reduce(elements << places, axis=-1).astype(layout.dtype)


def unpack(words: np.ndarray, layout: Layout, shape: tuple[int, int]) -> np.ndarray:
    """The elements' bits, shape (..., *shape), of words of shape (..., words); the inverse of `pack`."""
    count = layout.rows.shape[1]
    places = np.arange(count, dtype=np.uint64) * np.uint64(layout.width)
    mask = np.uint64((1 << layout.width) - 1)
    elements = (np.asarray(words).astype(np.uint64)[..., None] >> places) & mask
    tiles = np.zeros((*words.shape[:-1], *shape), np.uint64)
    tiles[..., layout.rows, layout.columns] = elements
    return tiles


def _of_registers(rows, columns, bits: int = 32) -> Layout:
    """A layout from lists over registers, each of shape (threads,) or (threads, elements)."""
    both = []
    for part in (rows, columns):
        shaped = [np.asarray(p).reshape(len(p), -1) for p in part]
        both.append(np.concatenate(np.broadcast_arrays(*shaped)))
    return _layout(both[0], both[1], bits)


def _layout(rows: np.ndarray, columns: np.ndarray, bits: int = 32) -> Layout:
    both = np.broadcast_arrays(rows, columns)
    return Layout(both[0], both[1], bits)


def operand(rows: int, depth: int, width: int) -> Layout:
    """A (rows 16: left, 8: right operand) of ``mma.m16n8kK``: `depth` elements of `width` bits along K.

    Words of 32 bits lie in groups of four along K: lane g * 4 + t holds word t of row g of each, and of
    row g + 8.
    """
    group, thread = WARP // 4, WARP % 4
    per = 32 // width
    made = [
        (group + below, (thread + 4 * half)[:, None] * per + np.arange(per))
        for half in range(depth // (4 * per))
        for below in range(0, rows, 8)
    ]
    return _of_registers([m[0] for m in made], [m[1] for m in made])


def accumulators(per: int, columns: int = 8, warps: int = 1) -> Layout:
    """C and D of ``mma.m16n8kK`` and, over four warps and more columns, of ``wgmma``: `per` elements to a
    word of 32 bits (1: FP32, 2: FP16)."""
    threads = np.arange(32 * warps)
    row, pair = threads // 32 * 16 + threads % 32 // 4, threads % 4 * 2
    made = [
        (row + below, (pair + eight)[:, None] + np.arange(first, first + per))
        for eight in range(0, columns, 8)
        for below in (0, 8)
        for first in range(0, 2, per)
    ]
    return _of_registers([m[0] for m in made], [m[1] for m in made])


def double_operand() -> Layout:
    """Both operands of ``mma.m8n8k4`` in FP64."""
    return _of_registers([WARP // 4], [WARP % 4], 64)


def double_accumulators() -> Layout:
    """C and D of ``mma.m8n8k4`` in FP64."""
    return _of_registers([WARP // 4] * 2, [WARP % 4 * 2, WARP % 4 * 2 + 1], 64)


# ``mma.m8n8k4`` in FP16: lanes 4q..4q+3 and 16 more compute one product of 8 x 8; the four of a warp are
# stacked here to 32 rows that share their right operand.
_QUAD = WARP % 16 // 4
_PLACE = WARP % 4 + WARP // 16 * 4


def quad_operand(left: bool) -> Layout:
    """An operand of four ``mma.m8n8k4`` in FP16."""
    row = _QUAD * 8 + _PLACE if left else _PLACE
    pairs = [np.broadcast_to(np.arange(k, k + 2), (32, 2)) for k in (0, 2)]
    return _of_registers([row, row], pairs)


def quad_accumulators(per: int) -> Layout:
    """C and D of four ``mma.m8n8k4``, `per` elements to a word (1: FP32, 2: FP16)."""
    if per == 2:
        pairs = [np.broadcast_to(np.arange(n, n + 2), (32, 2)) for n in (0, 2, 4, 6)]
        return _of_registers([_QUAD * 8 + _PLACE] * 4, pairs)
    rows = [_QUAD * 8 + WARP % 2 + (i & 2) + WARP // 16 * 4 for i in range(8)]
    columns = [(i & 4) + (WARP & 2) + (i & 1) for i in range(8)]
    return _of_registers(rows, columns)


def in_memory(rows: int, columns: int, width: int) -> Layout:
    """A tile row by row, as ``wmma.load`` and ``wmma.store`` take it."""
    per = 32 // width
    row, column = np.indices((rows, columns))
    return _layout(row.reshape(-1, per), column.reshape(-1, per))


def in_shared_memory(rows: int, width: int) -> Layout:
    """32 bytes of each row as ``wgmma`` and ``tcgen05`` read them without swizzle: blocks of 8 rows x 16 bytes, the two of
    the same rows 128 bytes apart, the next rows 256 bytes further."""
    per = 32 // width
    row, word = np.indices((rows, 8))
    where = row // 8 * 64 + word // 4 * 32 + row % 8 * 4 + word % 4
    order = np.argsort(where.reshape(-1))
    columns = word.reshape(-1)[order][:, None] * per + np.arange(per)
    return _layout(row.reshape(-1)[order][:, None], columns)


def in_lanes(rows: int, columns: int) -> Layout:
    """C and D of ``tcgen05`` in FP32: a thread for each row, a register for each column."""
    return _of_registers([np.arange(rows)] * columns, [np.full(rows, n) for n in range(columns)])
