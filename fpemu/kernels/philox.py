"""Philox4x32-10: random words from a seed and an element's position, and nothing else.

Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011. The 128-bit counter is (block, seed), 64 bits each; the key is constant, one for an
element's first word and one for its second (the generator has no weak counters, and LLVM computes
twice as fast with a key that it knows). Element i takes block ``i // 1024 * 256 + i % 256``, and of
its four words number ``i % 1024 // 256``: a fixed assignment, whatever the chunk or thread, that
lets 256 blocks be computed side by side in vector registers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fpemu.kernels.bits import right32
from fpemu.kernels.cache import kernel

TILE, BLOCKS = 1024, 256  # elements of a tile, and the blocks that they take

_MULTIPLY0, _MULTIPLY1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL0, _WEYL1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@njit
def _round(c0, c1, c2, c3, k0, k1):
    """On uint64 of which only the low halves count: what the products leave above is masked off
    by the next multiplication, which the processor's 32-bit multiplication does by itself."""
    p0 = np.uint64((c0 & _LOW) * _MULTIPLY0)
    p1 = np.uint64((c2 & _LOW) * _MULTIPLY1)
    return (p1 >> _HALF) ^ c1 ^ k0, p1, (p0 >> _HALF) ^ c3 ^ k1, p0


@njit
def _two_rounds(c0, c1, c2, c3, k0, k1):
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    return _round(c0, c1, c2, c3, (k0 + _WEYL0) & _LOW, (k1 + _WEYL1) & _LOW)


@njit
def philox(c0, c1, c2, c3, k0, k1):
    """Four uint64 whose low halves are the words for the counter (c0, c1, c2, c3) under the key
    (k0, k1); all are uint64 below 2**32.

    Written out, because LLVM vectorises a loop over counters only if there is none inside.
    """
    d0, d1 = (_WEYL0 + _WEYL0) & _LOW, (_WEYL1 + _WEYL1) & _LOW
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + d0) & _LOW, (k1 + d1) & _LOW
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + d0) & _LOW, (k1 + d1) & _LOW
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + d0) & _LOW, (k1 + d1) & _LOW
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = (k0 + d0) & _LOW, (k1 + d1) & _LOW
    return _two_rounds(c0, c1, c2, c3, k0, k1)


def _fill_tile(k0, k1):
    @njit
    def fill_tile(tile, blocks, seed_low, seed_high, words):
        """The words of elements ``tile * 1024`` to ``tile * 1024 + 1023``, or of those of them that
        the first `blocks` of the 256 blocks give."""
        # 64 bits of block number in two words; no carry between them within a tile of 256.
        first = np.uint64((np.uint64(tile) & np.uint64(0xFFFFFF)) << np.uint64(8))
        high = np.uint64(tile) >> np.uint64(24)
        low_seed, high_seed = np.uint64(seed_low), np.uint64(seed_high)
        for j in range(blocks):
            block = np.uint64(first + np.uint64(j))
            w0, w1, w2, w3 = philox(block, high, low_seed, high_seed, k0, k1)
            words[j], words[j + 256] = np.uint32(w0), np.uint32(w1)
            words[j + 512], words[j + 768] = np.uint32(w2), np.uint32(w3)

    return fill_tile


# Digits of pi, as good as any.
fill_first = _fill_tile(np.uint64(0x243F6A88), np.uint64(0x85A308D3))
fill_second = _fill_tile(np.uint64(0x13198A2E), np.uint64(0x03707344))


@kernel
def thresholds(tile, seeds, random_bits, out):
    """What stochastic rounding (variant A) compares the part of a last place with that lies beyond
    the nearer neighbour: 1 less the random number as a fraction of 2**random_bits, at most 31.

    `seeds` holds two words per step, `out` a row of float64 per step for the first elements of
    the tile.
    """
    words = np.empty(TILE, np.uint32)
    dropped, last = np.int32(32 - random_bits), 2.0**-random_bits
    for s in range(out.shape[0]):
        row = out[s]
        fill_first(tile, min(BLOCKS, row.size), seeds[s, 0], seeds[s, 1], words)
        for i in range(row.size):
            row[i] = 1.0 - np.float64(right32(np.int32(words[i]), dropped)) * last


@kernel
def both_words(seed_low, seed_high, out):
    """The two words of elements 0, 1, 2, ... as one uint64 each, the first word above the second."""
    first, second = np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    for tile in range((out.size + TILE - 1) // TILE):
        fill_first(tile, BLOCKS, seed_low, seed_high, first)
        fill_second(tile, BLOCKS, seed_low, seed_high, second)
        start = tile * TILE
        for i in range(min(TILE, out.size - start)):
            out[start + i] = (np.uint64(first[i]) << np.uint64(32)) | np.uint64(second[i])
