"""Sums on AMD's matrix cores by hand, from the rules (MMA-Sim, arXiv 2511.10909): places that random
numbers seldom reach. Each is c, the products, which are powers of two, and the result.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

import fpemu as fp

# CDNA1 rounds once: ties decided by what lies more than 53 bits below. FP32's gap at 2**20 is 2**-3.
CDNA1 = [
    (2.0**20, [2.0**-4], 2.0**20),
    (2.0**20, [2.0**-4, 2.0**-48], 2.0**20 + 2.0**-3),
    (2.0**20, [2.0**-4, -(2.0**-48)], 2.0**20),
    (2.0**20 + 2.0**-3, [2.0**-4, -(2.0**-48)], 2.0**20 + 2.0**-3),
    (2.0**20 + 2.0**-3, [2.0**-4], 2.0**20 + 2.0**-2),
    (2.0**-140, [2.0**-4, -(2.0**-28)], 2.0**-4 - 2.0**-28),
    (-(2.0**-140), [2.0**-4, 2.0**-4, 2.0**-27], 2.0**-3),
    (2.0**-140, [2.0**-4, 2.0**-4, 2.0**-27], 2.0**-3 + 2.0**-26),
    (2.0**-149, [2.0**-8, -(2.0**-8), 2.0**-48], 2.0**-48),
    (-(2.0**30), [2.0**15, 2.0**15, -(2.0**-48)], -(2.0**30) + 2.0**16),
    (2.0**100, [2.0**-48, -(2.0**-48)], 2.0**100),
    (0.0, [2.0**30, 2.0**-28, -(2.0**30)], 2.0**-28),
    (-(2.0**30), [2.0**29, 2.0**-48, 2.0**29, 2.0**-48], 2.0**-47),
]
# CDNA3 rounds down to the second grid and to 32 bits, then to nearest even; its FP8 units leave
# out an accumulator far below the products.
CDNA3 = [
    (1.0, [2.0**-24], 1.0),
    (1.0, [2.0**-24, 2.0**-31], 1 + 2.0**-23),
    (1.0, [2.0**-24, 2.0**-32], 1.0),
    (2.0, [2.0**-23, 2.0**-30], 2 + 2.0**-22),
    (2.0, [2.0**-23, 2.0**-31], 2.0),
    (-(2.0**-24), [1.0], 1 - 2.0**-24),
    (-(2.0**-25), [1.0], 1 - 2.0**-24),
    (-(2.0**-26), [1.0], 1 - 2.0**-24),
    (-(2.0**-149), [1.0], 1 - 2.0**-24),
    (2.0**-25, [1.0], 1.0),
    (1.0, [-(2.0**-33)], 1.0),
    (-1.0, [2.0**-24, -(2.0**-31)], -1 + 2.0**-24),
    (-1.0, [-(2.0**-24), -(2.0**-32)], -1 - 2.0**-23),
]
CDNA3_FP8 = [
    (0.0, [2.0**20, 2.0**-3], 2.0**20 + 2.0**-3),
    (-(2.0**-24), [1.0], 1 - 2.0**-24),
    (-(2.0**-25), [1.0], 1 - 2.0**-24),
    (-(2.0**-26), [1.0], 1.0),
    (1.0, [2.0**-24, 2.0**-31], 1 + 2.0**-23),
    (1.0, [2.0**-24, 2.0**-32], 1.0),
]
PROBES = [
    *(("mi100", "fp16", *probe) for probe in CDNA1),
    *(("mi300", "fp16", *probe) for probe in CDNA3),
    *(("mi300", "e5m2fnuz", *probe) for probe in CDNA3_FP8),
]


def orders(unit: str, f: str, c: float, products: list[float]):
    """The instruction, and the operands and c as matrices with the products in every order."""
    made = fp.matrix_unit(unit).on(f)
    halves = [math.frexp(p)[1] - 1 for p in products]
    pairs = [
        (math.copysign(2.0 ** (e // 2), p), 2.0 ** (e - e // 2))
        for e, p in zip(halves, products, strict=True)
    ]
    for order in itertools.permutations(pairs):
        a, b = (np.array([side], np.float32) for side in zip(*order, strict=True))
        yield made, a, b.T.copy(), np.full((1, 1), c, np.float32)
