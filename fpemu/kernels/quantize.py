"""Rounding whole arrays: a flat array of one carrier in, a flat array of the other or same out.

`quantize32[mode]` and `quantize64[mode]` are compiled for one rounding mode each (and for float32
one kind of overflow), when first called; stochastic rounding has kernels of its own, which also take a seed.
"""

from __future__ import annotations

import numpy as np

from fpemu.kernels.bits import right32
from fpemu.kernels.cache import kernel
from fpemu.kernels.philox import BLOCKS, TILE, fill_first, fill_second
from fpemu.kernels.step import (
    MASKED,
    NARROW,
    WIDE,
    masked,
    narrow,
    native64,
    wide,
)

_NO_BITS, _NO_RANDOM = np.int32(0), np.uint64(0)


def _quantize32(mode):
    @kernel
    def quantize32(x, target, out):
        """Round float32 `x` to float32 `out` (`target.kind` is NARROW or MASKED)."""
        if target.kind == NARROW and target.minus_zero:
            for i in range(x.size):
                out[i] = narrow(x[i], target, mode, _NO_BITS, True)
        elif target.kind == NARROW:
            for i in range(x.size):
                out[i] = narrow(x[i], target, mode, _NO_BITS, False)
        elif target.kind == MASKED:
            for i in range(x.size):
                out[i] = masked(x[i], target, mode, _NO_BITS)

    return quantize32


def _quantize64(mode):
    @kernel
    def quantize64(x, target, out):
        """Round float64 `x` to `out`, float32 or float64 (`target.kind` is WIDE or NATIVE64)."""
        if target.kind == WIDE:
            for i in range(x.size):
                out[i] = wide(x[i], target, mode, _NO_RANDOM, 0, 0)
        else:
            for i in range(x.size):
                out[i] = native64(x[i], target, mode)

    return quantize64


def _stochastic32(mode):
    @kernel
    def stochastic32(x, target, out, seed_low, seed_high, random_bits):
        """Round float32 `x` stochastically, variant A with up to 24 random bits per element."""
        words = np.empty(TILE, np.uint32)
        # The bits asked for, at the top of 24.
        kept = np.uint32(0xFFFFFF) & ~np.uint32((1 << (24 - random_bits)) - 1)
        for tile in range((x.size + TILE - 1) // TILE):
            fill_first(tile, BLOCKS, seed_low, seed_high, words)
            start = tile * TILE
            count = min(TILE, x.size - start)
            source, result = x[start : start + count], out[start : start + count]
            if target.kind == NARROW and target.minus_zero:
                for i in range(count):
                    random = np.int32(np.uint32(words[i] >> np.uint32(8)) & kept)
                    result[i] = narrow(source[i], target, mode, random, True)
            elif target.kind == NARROW:
                for i in range(count):
                    random = np.int32(np.uint32(words[i] >> np.uint32(8)) & kept)
                    result[i] = narrow(source[i], target, mode, random, False)
            elif target.kind == MASKED:
                for i in range(count):
                    random = np.int32(np.uint32(words[i] >> np.uint32(8)) & kept)
                    result[i] = masked(source[i], target, mode, random)

    return stochastic32


def _stochastic64(mode):
    @kernel
    def stochastic64(x, target, out, seed_low, seed_high, random_bits, variant):
        """Round float64 `x` stochastically with 1 to 64 random bits (`target.kind` is WIDE)."""
        low, high = np.empty(TILE, np.uint32), np.zeros(TILE, np.uint32)
        for tile in range((x.size + TILE - 1) // TILE):
            fill_first(tile, BLOCKS, seed_low, seed_high, high)
            if random_bits > 32:
                fill_second(tile, BLOCKS, seed_low, seed_high, low)
            start = tile * TILE
            for i in range(min(TILE, x.size - start)):
                random = np.uint64(high[i]) >> np.uint64(max(32 - random_bits, 0))
                if random_bits > 32:
                    random = np.uint64(random << np.uint64(random_bits - 32))
                    random = np.uint64(random | (np.uint64(low[i]) >> np.uint64(64 - random_bits)))
                out[start + i] = wide(x[start + i], target, mode, random, random_bits, variant)

    return stochastic64


def _stochastic64_short(mode):
    @kernel
    def stochastic64_short(x, target, out, seed_low, seed_high, random_bits):
        """The same for variant A with at most 31 random bits: a comparison with a threshold."""
        words = np.empty(TILE, np.uint32)
        dropped, last = np.int32(32 - random_bits), 2.0**-random_bits
        for tile in range((x.size + TILE - 1) // TILE):
            fill_first(tile, BLOCKS, seed_low, seed_high, words)
            start = tile * TILE
            count = min(TILE, x.size - start)
            source, result = x[start : start + count], out[start : start + count]
            for i in range(count):
                threshold = 1.0 - np.float64(right32(np.int32(words[i]), dropped)) * last
                result[i] = wide(source[i], target, mode, threshold, None, None)

    return stochastic64_short


class _ByMode(dict):
    """Kernels by mode, each made when it is first asked for."""

    def __init__(self, make) -> None:
        self._make = make

    def __missing__(self, mode: int):
        self[mode] = self._make(mode)
        return self[mode]


quantize32, quantize64 = _ByMode(_quantize32), _ByMode(_quantize64)
stochastic32, stochastic64 = _ByMode(_stochastic32), _ByMode(_stochastic64)
stochastic64_short = _ByMode(_stochastic64_short)
