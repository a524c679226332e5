"""One power of two for a whole tensor, chosen from the values at hand ("current scaling")."""

from __future__ import annotations

import math

import numpy as np

from fpemu.formats import Format


def power_of_two(values: np.ndarray, f: Format) -> int:
    """The largest k such that every finite value times 2**k is at most ``f.max``.

    Powers of two change no significand, so scaling there and back rounds nothing. 0 for a
    tensor of zeros or without finite values. Source for the rule with a free factor:
    Transformer Engine's current scaling; rounded down to a power of two as in its
    ``force_pow_2_scales`` option.

    >>> from fpemu.formats import E4M3
    >>> power_of_two(np.float32([0.001, -3.0]), E4M3)  # 3 * 2**7 = 384 <= 448 < 768
    7
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest == 0.0:
        return 0
    significand, exponent = math.frexp(largest)
    limit, limit_exponent = math.frexp(f.max)
    return limit_exponent - exponent - (significand > limit)
