"""The static loss scale: a number of FP32, as every training system keeps it."""

from __future__ import annotations

import numbers

import numpy as np

from fpemu.errors import ArgumentError


def in_fp32(scale: object, name: str) -> float:
    """`scale` rounded to FP32; `ArgumentError` unless the result is positive and finite.

    >>> in_fp32(1024, "loss_scale"), in_fp32(0.1, "loss_scale")
    (1024.0, 0.10000000149011612)
    """
    rounded = 0.0
    if isinstance(scale, numbers.Real) and not isinstance(scale, bool):
        with np.errstate(over="ignore", under="ignore"):
            rounded = float(np.float32(float(scale)))
    if not 0 < rounded < float("inf"):
        raise ArgumentError(
            f"{name} must be positive and finite, and so as an FP32 number (about 1e-45 to 3e38), "
            f"got {scale!r}"
        )
    return rounded
