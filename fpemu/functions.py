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
_LARGEST = float(np.finfo(np.float64).max)


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
    special = np.any([~np.isfinite(v) for v in operands], axis=0)
    unsure = special | np.isnan(y) | _may_be_exact(op, operands, y, f) | is_pole(op, operands)
    # A finite operand elsewhere has a finite result, with these bounds on it.
    least, most = _bounds(op, *operands)
    least = np.maximum(_inside(least, np.inf, rounding), -_LARGEST)
    most = np.minimum(_inside(most, -np.inf, rounding), _LARGEST)
    y = np.clip(y, least, most)
    low = np.maximum(y - np.abs(y) * _ERROR, least)
    high = np.minimum(y + np.abs(y) * _ERROR, most)
    if watched:  # tininess before rounding asks on which side of the smallest normal it lies
        tiny = f.smallest_normal
        unsure |= (np.abs(low) < tiny) != (np.abs(high) < tiny)
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
            for end in (low, high)
        ]
        unsure |= ends[0] != ends[1]
    source, inexact = np.array(y), np.ones(y.shape, bool)
    known = _at_zero(op, operands[0])
    if known is not None:
        zero = operands[0] == 0
        np.copyto(source, known, where=zero)
        inexact &= ~zero
        unsure &= ~zero
    undefined = _is_undefined(op, operands)
    if undefined is not None:
        np.copyto(source, np.nan, where=undefined)
        inexact &= ~undefined
        unsure &= ~undefined
    for i in np.flatnonzero(unsure):
        numbers = [float(v.flat[i]) for v in operands]
        value, _ = exact.exact_result(op, *numbers)
        source.flat[i] = exact.round_to(value, FP64, rounding="to_odd")
        inexact.flat[i] = isinstance(value, Fraction) and source.flat[i] != value
    return source, inexact


def _is_undefined(op: str, operands) -> np.ndarray | None:
    """Where there is no real result: IEEE's invalid operation."""
    x = operands[0]
    if op in ("log", "log2", "rsqrt"):
        return x < 0
    if op == "log1p":
        return x < -1
    if op == "power":
        y = operands[1]
        return (x < 0) & np.isfinite(x) & np.isfinite(y) & (y != np.floor(y))
    return None


def _at_zero(op: str, x: np.ndarray) -> float | np.ndarray | None:
    """What a function gives for zeros, which a softmax is full of; None if that is no number."""
    if op in ("exp", "exp2", "cos"):
        return 1.0
    if op == "sigmoid":
        return 0.5
    return x if op in ("expm1", "log1p", "tanh", "erf", "sin") else None


def _bounds(op: str, x: np.ndarray, *second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that the exact result lies strictly between, by theorems rather than by NumPy."""
    size, endless = np.abs(x), np.full_like(x, np.inf)
    match op:
        case "exp" | "exp2":
            return np.where(x > 0, 1.0, 0.0), np.where(x > 0, np.inf, 1.0)
        case "sigmoid":
            return np.where(x > 0, 0.5, 0.0), np.where(x > 0, 1.0, 0.5)
        case "expm1":
            return np.maximum(x, -1.0), np.where(x > 0, np.inf, 0.0)
        case "log1p":
            return np.where(x > 0, 0.0, -np.inf), x
        case "tanh":
            return _odd(x, np.minimum(size, 1.0))
        case "erf":
            return _odd(x, np.ones_like(x))
        case "sin":  # of x's sign up to 3; beyond, only the margin tells
            least, most = _odd(x, np.minimum(size, 1.0))
            return np.where(size < 3, least, -1.0), np.where(size < 3, most, 1.0)
        case "cos":
            return np.full_like(x, -1.0), np.ones_like(x)
        case "hypot":
            return np.maximum(size, np.abs(second[0])), endless
        case "rsqrt":
            return np.zeros_like(x), endless
        case "power":
            above = (size > 1) == (second[0] > 0)
            least, most = np.where(above, 1.0, 0.0), np.where(above, np.inf, 1.0)
            minus = (x < 0) & (np.fmod(second[0], 2) != 0)
            return np.where(minus, -most, least), np.where(minus, -least, most)
    return -endless, endless


def _odd(x: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From 0 to `most`, with the sign of x."""
    return np.where(x < 0, -most, 0.0), np.where(x < 0, 0.0, most)


def _inside(bound: np.ndarray, inward: float, rounding: str) -> np.ndarray:
    """A float64 that rounds to `f` as everything strictly inside of `bound` does near it.

    The numbers and midpoints of `f` end in a zero bit as float64. So none lies between a bound
    that ends in a zero bit and the next float64, nor on that one. Random bits distinguish more,
    so with them only zero, whose neighbour is below everything, moves.
    """
    bound = np.asarray(bound, np.float64)
    even = bound == 0 if rounding == "stochastic" else bound.view(np.int64) & 1 == 0
    return np.where(even & np.isfinite(bound), np.nextafter(bound, inward), bound)


def _may_be_exact(op: str, operands, y: np.ndarray, f: Format) -> np.ndarray:
    """Where the result may be a binary fraction that matters; nowhere else it is one."""
    x = operands[0]
    match op:
        case "exp2":
            return (x == np.rint(x)) & (np.abs(x) < 1100)
        case "log" | "log2":
            return y == np.rint(y)
        case "rsqrt" | "power" | "hypot":
            # Numbers of f, and of one bit more.
            bits = Format("one more", 10, f.fraction_bits + 1, bias=511, encoding="finite")
            zero = np.any([v == 0 for v in operands], axis=0)
            return zero | ((round_to(y, bits, "finite", count=False) == y) & (y != 0))
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
