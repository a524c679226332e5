"""Operations against `exact`: every code, every pair, or a sample of edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu import elementwise, exact, functions
from fpemu.convert import decode
from fpemu.flags import Flag
from fpemu.formats import FP64, Format
from fpemu.verify.outcome import Outcome


def against_exact(
    f: Format, op: str, settings: list[tuple[str, str]], exhaustive: bool
) -> list[Outcome]:
    """`op` under each pair of rounding and saturation."""
    operands, which = _operands(f, op, exhaustive)
    rows = list(zip(*(v.tolist() for v in operands), strict=True))
    # A function's exact result, the dear part, is the same in every mode.
    known = None
    if op in exact.FUNCTIONS:
        known = [exact.exact_result(op, *row)[0] for row in rows]
    outcomes = []
    for mode, saturation in settings:
        chosen: dict[str, Any] = {"rounding": mode, "saturation": saturation}
        if known is not None:
            want = np.array([exact.round_to(value, f, **chosen) for value in known])
        else:
            want = np.array([exact.compute(op, *row, f=f, **chosen) for row in rows])
        setting = mode if saturation == "none" else f"{mode}, {saturation}"
        outcome = Outcome(f.name, op, f"{which}, {setting}", "exact")
        got = elementwise.apply(op, *operands, f=f, **chosen)
        if f == FP64 and op in functions.IN_FP64:  # stated to be within one last place
            outcome.op += " (within one ulp)"
            close = np.abs(got - want) <= np.spacing(np.abs(want))
            got = np.where(close, want, got)
        flags = elementwise.flags_of(op, *operands, f=f, **chosen)
        inexact, over = flags & Flag.INEXACT != 0, flags & Flag.OVERFLOW != 0
        outcome.tally(operands, got, want, inexact, over)
        outcomes.append(outcome)
    return outcomes


def _operands(f: Format, op: str, exhaustive: bool) -> tuple[tuple[np.ndarray, ...], str]:
    """One operand: every code of up to 16 bits. Two: every pair of up to 8. Else a sample."""
    count = exact.OPERANDS[op]
    cheap = op in ("add", "subtract", "multiply", "divide", "sqrt")
    if count == 1 and f.bits <= (16 if cheap or exhaustive else 8):
        return (decode(np.arange(1 << f.bits), f),), "every code"
    if count == 2 and f.bits <= 8 and (cheap or exhaustive):
        every = decode(np.arange(1 << f.bits), f)
        return tuple(v.reshape(-1) for v in np.meshgrid(every, every)), "every pair"
    return _sample(f, op, count), "sample"


def _sample(f: Format, op: str, count: int) -> tuple[np.ndarray, ...]:
    """Random values of `f`, half of them near zero, the smallest normal, one or the largest."""
    size = 1000 if op in exact.FUNCTIONS else 10_000
    rng = np.random.default_rng([f.bits, count])
    edges = np.array([0, 1 << f.fraction_bits, f._bias << f.fraction_bits, f.max_code])
    result = []
    for _ in range(count):
        near = rng.choice(edges, size) + rng.integers(-4, 5, size)
        codes = np.where(rng.random(size) < 0.5, near, rng.integers(0, f.max_code + 1, size))
        values = decode(np.clip(codes, 0, f.max_code), f).astype(np.float64)
        result.append(values * rng.choice([1.0, -1.0], size) if f.signed else values)
    return tuple(result)
