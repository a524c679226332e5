"""The decisions of stochastic rounding, and the random bits they are made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from fpemu.errors import ArgumentError


def rounds_away_by_chance(rest: Fraction, random: int, random_bits: int, variant: str) -> bool:
    """The decision of stochastic rounding for `rest` of a last place and N random bits.

    Variants A, B and C of IEEE P3109: with nu the rest and R the random integer,
    A: floor(nu 2^N) + R >= 2^N; B: floor(nu 2^(N+1)) + 2R + 1 >= 2^(N+1);
    C: nu 2^N rounded to nearest even + R >= 2^N.
    """
    top = 1 << random_bits
    match variant:
        case "A":
            return math.floor(rest * top) + random >= top
        case "B":
            return math.floor(rest * top * 2) + 2 * random + 1 >= 2 * top
        case "C":
            return round(rest * top) + random >= top
    raise ArgumentError(f"unknown stochastic variant {variant!r}; allowed: A, B, C")


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit words for a counter of four and a key of two.

    >>> [hex(word) for word in philox([0, 0, 0, 0], [0, 0])]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(c0 * 0xD2511F53, 1 << 32)
        high1, low1 = divmod(c2 * 0xCD9E8D57, 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % (1 << 32), (k1 + 0xBB67AE85) % (1 << 32)
    return [c0, c1, c2, c3]


def random_integer(index: int, seed: int, random_bits: int) -> int:
    """The N random bits of element `index`: the top bits of its word, then of its second word."""
    block, number = index // 1024 * 256 + index % 256, index % 1024 // 256
    counter = [block % (1 << 32), block >> 32, seed % (1 << 32), seed >> 32]
    first = philox(counter, [0x243F6A88, 0x85A308D3])[number]
    second = philox(counter, [0x13198A2E, 0x03707344])[number]
    return (first << 32 | second) >> (64 - random_bits)
