"""exp, log, sin and their kin on arrays, rounded once and correctly in every mode.

NumPy computes them in float64 with errors of a few last places, other ones on other machines. Ziv's
way out: if everything within a generous bound of NumPy's result rounds to the same number, that
number is right, whatever the error was; else (one element in millions, or an exact case) the exact
reference decides. So the bits are the same everywhere.

A. Ziv, "Fast evaluation of elementary mathematical functions with correctly rounded last bit", ACM
TOMS 17 (1991).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from fpemu import exact
from fpemu.carriers import roomy
from fpemu.chance import Chance
from fpemu.convert import round_to
from fpemu.formats import FP64, Format

# More than thirty times the error of any float64 function that NumPy is known to use.
_ERROR = 2.0**-46


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return 1.0 / np.sqrt(x)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(v) for v in x.ravel().tolist()]).reshape(x.shape)


_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "rsqrt": _rsqrt,
    "power": np.power,
    "hypot": np.hypot,
}


def nearly(
    op: str, operands, f: Format, rounding: str, chance: Chance, watched: bool
) -> tuple[np.ndarray, np.ndarray]:
    """float64 that round to `f` as the exact results do, and where those are not exact.

    `operands` are float64 arrays of one shape, holding values of `f`.
    """
    with np.errstate(all="ignore"):
        y = np.asarray(_NUMPY[op](*operands), np.float64)
    # Zeros and infinities, exact or not, NaNs and whatever float64 cannot hold well.
    unsure = ~np.isfinite(y) | (np.abs(y) < 2.0**-1000) | (np.abs(y) > 2.0**1000)
    unsure |= _may_be_exact(op, operands, y, f)
    away, toward = y * (1 + _ERROR), y * (1 - _ERROR)
    if watched:  # tininess before rounding asks on which side of the smallest normal it lies
        tiny = f.smallest_normal
        unsure |= (np.abs(toward) < tiny) & (np.abs(away) >= tiny)
    # With an unbounded exponent as well, if somebody wants to know of overflow and underflow.
    for target in (f, roomy(f)) if watched else (f,):
        ends = [
            round_to(
                np.where(unsure, 1.0, end),
                target,  # type: ignore[arg-type]
                "finite",
                rounding=rounding,
                chance=chance,
                count=False,
            )
            for end in (away, toward)
        ]
        unsure |= ends[0] != ends[1]
    source, inexact = np.array(y), np.ones(y.shape, bool)
    for i in np.flatnonzero(unsure):
        numbers = [float(v.flat[i]) for v in operands]
        value, _ = exact.exact_result(op, *numbers)
        source.flat[i] = exact.round_to(value, FP64, rounding="to_odd")
        inexact.flat[i] = isinstance(value, Fraction) and source.flat[i] != value
    return source, inexact


def _may_be_exact(op: str, operands, y: np.ndarray, f: Format) -> np.ndarray:
    """Where the result may be a binary fraction that matters; nowhere else it is one."""
    x = operands[0]
    match op:
        case "exp2":
            return x == np.rint(x)
        case "log" | "log2":
            return y == np.rint(y)
        case "rsqrt" | "power" | "hypot":
            # Numbers of f, and of one bit more.
            bits = Format("one more", 9, f.fraction_bits + 1, bias=255, encoding="finite")
            return round_to(y, bits, "finite", count=False) == y
    return x == 0


# The functions with a kernel for FP64 itself, and where they are exact.
IN_FP64 = {"exp": 0.0, "log": 1.0}


def within_an_ulp(op: str, x: np.ndarray) -> np.ndarray:
    """exp or log in float64 by fpemu's own kernels: less than one last place off, the same
    everywhere, and not always correctly rounded."""
    from fpemu.kernels import transcendental

    x = np.asarray(x, order="C")
    out = np.empty_like(x)
    {"exp": transcendental.exp, "log": transcendental.log}[op](x.reshape(-1), out.reshape(-1))
    return out


def is_pole(op: str, operands) -> np.ndarray:
    """Where a finite operand has an exactly infinite result: IEEE's divide by zero."""
    x = operands[0]
    match op:
        case "log" | "log2" | "rsqrt":
            return x == 0
        case "log1p":
            return x == -1
        case "power":
            return (x == 0) & (operands[1] < 0) & np.isfinite(operands[1])
    return np.zeros(np.shape(x), bool)
