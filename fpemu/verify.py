"""Proof on demand: the kernels of this installation against judges that share no code with them.

The judge is `exact`, and with `exhaustive` also NumPy and ml_dtypes for all 2**32 float32 inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fpemu import elementwise, exact
from fpemu.carriers import overflow_edge
from fpemu.convert import decode, encode, quantize
from fpemu.formats import DTYPES, Format
from fpemu.rounding import ROUNDING

MODES = tuple(mode for mode in ROUNDING if mode != "stochastic")
OPERATIONS = ("decode", "encode", "convert", "add", "subtract", "multiply", "divide", "sqrt")


@dataclass
class Outcome:
    """What one check found: how many results there were of each kind, and the first wrong one."""

    format: str
    op: str
    setting: str
    judge: str
    exact: int = 0
    rounded: int = 0
    overflowed: int = 0
    wrong: int = 0
    first_wrong: str = ""

    def add(self, inputs: np.ndarray, got: np.ndarray, want: np.ndarray, edge: float) -> None:
        """Count the results `got` for `inputs`, the exact values where they are known."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        same = (got == want) & (np.signbit(got) == np.signbit(want))
        same |= np.isnan(got) & np.isnan(want)
        over = np.isfinite(inputs) & (np.abs(inputs) >= edge)
        unchanged = (inputs == want) | (np.isnan(inputs) & np.isnan(want))
        self.wrong += int(np.sum(~same))
        self.overflowed += int(np.sum(same & over))
        self.exact += int(np.sum(same & unchanged & ~over))
        self.rounded += int(np.sum(same & ~unchanged & ~over))
        if not same.all() and not self.first_wrong:
            i = int(np.flatnonzero(~same)[0])
            self.first_wrong = f"{float(inputs[i])} -> {float(got[i])}, want {float(want[i])}"


def checks(
    formats: list[Format], operations: list[str], *, exhaustive: bool = False
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """The checks to run for `formats` and `operations`, each with a label and a function."""
    for f in formats:
        small = f.bits <= 8
        for op in ("decode", "encode"):
            if op in operations and f.bits <= 19:
                yield f"{f.name} {op}", partial(_codes, f, op)
        if "convert" in operations:
            for mode in MODES if small or exhaustive else MODES[:1]:
                yield f"{f.name} convert {mode}", partial(_convert, f, mode, exhaustive)
            if exhaustive and f.name in _PEERS:
                yield f"{f.name} convert every float32", partial(_every_float32, f)
        for op in ("add", "subtract", "multiply", "divide"):
            if op in operations and small and f.has_nan:
                yield f"{f.name} {op}", partial(_pairs, f, op)
        if "sqrt" in operations and f.bits <= 16 and f.has_nan:
            yield f"{f.name} sqrt", partial(_sqrt, f)


def _codes(f: Format, op: str) -> Outcome:
    """Every code."""
    outcome = Outcome(f.name, op, "every code", "exact")
    codes = np.arange(1 << f.bits)
    want = np.array([exact.decode(int(code), f) for code in codes])
    if op == "decode":
        outcome.add(want, decode(codes, f), want, np.inf)
    else:
        real = ~np.isnan(want)
        outcome.add(want[real], decode(encode(want[real], f), f), want[real], np.inf)
        wrong = int(np.sum(encode(want[real], f) != codes[real]))
        outcome.wrong += wrong
    return outcome


def _convert(f: Format, mode: str, exhaustive: bool) -> Outcome:
    """Every value and midpoint, the float64s beside them, and the ends of float64."""
    points = _points(f, exhaustive)
    outcome = Outcome(f.name, "convert", mode, "exact")
    want = np.array([exact.round_to(x, f, rounding=mode) for x in points.tolist()])
    outcome.add(points, quantize(points, f, rounding=mode), want, _edge(f, mode))
    with np.errstate(over="ignore"):
        single = points.astype(np.float32).astype(np.float64)
    want = np.array([exact.round_to(x, f, rounding=mode) for x in single.tolist()])
    got = quantize(single.astype(np.float32), f, rounding=mode)
    outcome.add(single, got, want, _edge(f, mode))
    return outcome


def _points(f: Format, exhaustive: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    if f.bits <= 19:
        codes = np.arange(f.max_code + 1)
        codes = codes if f.bits <= 16 or exhaustive else codes[::16]
        values = decode(codes, f).astype(np.float64)
    else:
        exponents = rng.integers(f.emin - f.fraction_bits, f.emax + 1, 20_000)
        values = np.ldexp(1 + rng.random(exponents.size), np.clip(exponents, -1022, 1022))
        values = quantize(values, f).astype(np.float64)
        values = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        half = np.ldexp(0.5, np.maximum(np.frexp(values)[1] - 1, f.emin) - f.fraction_bits)
        middle = values + half
        near = np.concatenate([values, middle])
        points = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, 0)])
    if f.bits > 16 and not exhaustive:
        points = rng.permutation(points)[:30_000]
    points = np.concatenate([points, [0.0, np.inf, 1e300, 5e-324]])
    single_safe = np.abs(points) < 3e38  # beyond, float32 input is the infinity tested anyway
    points = points[single_safe | (f.bits > 32) | ~np.isfinite(points)]
    return np.concatenate([points, -points])


def _pairs(f: Format, op: str) -> Outcome:
    """Every pair of values, NaN and infinities included."""
    outcome = Outcome(f.name, op, "every pair", "exact")
    every = decode(np.arange(1 << f.bits), f)
    a, b = (v.reshape(-1) for v in np.meshgrid(every, every))
    got = elementwise.apply(op, a, b, f=f)
    judge = getattr(exact, op)
    want = np.array([judge(x, y, f) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    with np.errstate(all="ignore"):
        result = getattr(np, op)(a.astype(np.float64), b.astype(np.float64))
    outcome.add(result, got, want, _edge(f, "nearest_even"))
    return outcome


def _sqrt(f: Format) -> Outcome:
    """Every value."""
    outcome = Outcome(f.name, "sqrt", "every value", "exact")
    every = decode(np.arange(1 << f.bits), f)
    want = np.array([exact.sqrt(x, f) for x in every.tolist()])
    with np.errstate(invalid="ignore"):
        result = np.sqrt(every.astype(np.float64))
    outcome.add(result, elementwise.apply("sqrt", every, f=f), want, np.inf)
    return outcome


_PEERS = {f.name: name for name, f in DTYPES.items() if f.bits <= 16}


def _every_float32(f: Format) -> Outcome:
    """All 2**32 float32 inputs to nearest even, against NumPy or ml_dtypes."""
    import ml_dtypes

    name = _PEERS[f.name]
    dtype = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    outcome = Outcome(f.name, "convert", "every float32", "NumPy" if f.bits == 16 else "ml_dtypes")
    if name == "bfloat16":
        outcome.judge = "ml_dtypes"
    for high in range(256):
        codes = np.arange(high << 24, (high + 1) << 24, dtype=np.uint32)
        x = codes.view(np.float32)
        if not f.has_nan:  # what NaN becomes there is the peer's own rule
            x = x[~np.isnan(x)]
        with np.errstate(all="ignore"):
            want, wide = x.astype(dtype).astype(np.float64), x.astype(np.float64)
        outcome.add(wide, quantize(x, f), want, _edge(f, "nearest_even"))
    return outcome


def _edge(f: Format, mode: str) -> float:
    return min(overflow_edge(f, mode, negative=negative) for negative in (False, True))


def total(outcomes: list[Outcome]) -> Outcome:
    """The sum of all counts."""
    fields = ("exact", "rounded", "overflowed", "wrong")
    sums: dict[str, Any] = {name: sum(getattr(o, name) for o in outcomes) for name in fields}
    first = next(itertools.chain((o.first_wrong for o in outcomes if o.first_wrong), [""]))
    return Outcome("total", "", "", "", **sums, first_wrong=first)
