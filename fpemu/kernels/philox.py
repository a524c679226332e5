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

TILE = 1024  # elements per 256 blocks

_MULTIPLY0, _MULTIPLY1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL0, _WEYL1 = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@njit
def _round(c0, c1, c2, c3, k0, k1):
    p0 = np.uint64(np.uint64(c0) * _MULTIPLY0)
    p1 = np.uint64(np.uint64(c2) * _MULTIPLY1)
    high0, high1 = np.uint32(p0 >> _HALF), np.uint32(p1 >> _HALF)
    return (
        np.uint32(np.uint32(high1 ^ c1) ^ k0),
        np.uint32(p1 & _LOW),
        np.uint32(np.uint32(high0 ^ c3) ^ k1),
        np.uint32(p0 & _LOW),
    )


@njit
def _two_rounds(c0, c1, c2, c3, k0, k1):
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    return _round(c0, c1, c2, c3, np.uint32(k0 + _WEYL0), np.uint32(k1 + _WEYL1))


@njit
def philox(c0, c1, c2, c3, k0, k1):
    """Four uint32 for the counter (c0, c1, c2, c3) under the key (k0, k1), all uint32.

    Written out, because LLVM vectorises a loop over counters only if there is none inside.
    """
    d0, d1 = np.uint32(_WEYL0 + _WEYL0), np.uint32(_WEYL1 + _WEYL1)
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = np.uint32(k0 + d0), np.uint32(k1 + d1)
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = np.uint32(k0 + d0), np.uint32(k1 + d1)
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = np.uint32(k0 + d0), np.uint32(k1 + d1)
    c0, c1, c2, c3 = _two_rounds(c0, c1, c2, c3, k0, k1)
    k0, k1 = np.uint32(k0 + d0), np.uint32(k1 + d1)
    return _two_rounds(c0, c1, c2, c3, k0, k1)


def _fill_tile(k0, k1):
    @njit
    def fill_tile(tile, seed_low, seed_high, words):
        """The words of elements ``tile * 1024`` to ``tile * 1024 + 1023``."""
        # 64 bits of block number in two words; no carry between them within a tile of 256.
        first = np.uint32(np.uint32(tile & 0xFFFFFF) << np.uint32(8))
        high = np.uint32(tile >> 24)
        for j in range(256):
            block = np.uint32(first + np.uint32(j))
            w0, w1, w2, w3 = philox(block, high, seed_low, seed_high, k0, k1)
            words[j], words[j + 256], words[j + 512], words[j + 768] = w0, w1, w2, w3

    return fill_tile


# Digits of pi, as good as any.
fill_first = _fill_tile(np.uint32(0x243F6A88), np.uint32(0x85A308D3))
fill_second = _fill_tile(np.uint32(0x13198A2E), np.uint32(0x03707344))
