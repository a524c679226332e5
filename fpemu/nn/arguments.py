"""What constructors of layers check."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpemu.arrays import array
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import FP32
from fpemu.random import initial_stream


def size(layer: str, name: str, value: Any) -> int:
    """A positive integer."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ArgumentError(f"{layer}'s {name} must be a positive integer, got {value!r}")
    return int(value)


def number(layer: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf):
    """A finite number from `low` to `high`."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not low <= value <= high:
        within = f" from {low:g} to {high:g}" if low > -math.inf else ""
        raise ArgumentError(f"{layer}'s {name} must be a finite number{within}, got {value!r}")
    return float(value)


def sizes(layer: str, name: str, value: Any) -> tuple[int, ...]:
    """A positive integer, or several."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(size(layer, name, n) for n in given)


def filled(shape: tuple[int, ...], value: float, *, trained: bool = True) -> Tensor:
    """A parameter, or a buffer, all of one value, in FP32."""
    return Tensor(array(np.full(shape, value), FP32), requires_grad=trained)


def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
    """A parameter drawn from the uniform distribution on +-`bound`, in FP32."""
    drawn = initial_stream().uniform(-bound, bound, shape)
    return Tensor(array(drawn, FP32), requires_grad=True)
