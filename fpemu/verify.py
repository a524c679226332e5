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

from fpemu import elementwise, exact, functions
from fpemu.carriers import overflow_edge
from fpemu.convert import decode, encode, quantize
from fpemu.flags import Flag
from fpemu.formats import DTYPES, E8M0, FP64, TF32, Format
from fpemu.rounding import ROUNDING, SATURATION

MODES = tuple(mode for mode in ROUNDING if mode != "stochastic")
PAIRS = ("add", "subtract", "multiply", "divide")
OTHERS = tuple(op for op in exact.OPERATIONS if op not in (*PAIRS, "sqrt"))
OPERATIONS = ("decode", "encode", "convert", *PAIRS, "sqrt", *OTHERS, *exact.FUNCTIONS)


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
        """Count the results `got` for `inputs`, which are the exact values."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        over = np.isfinite(inputs) & (np.abs(inputs) >= edge)
        unchanged = (inputs == want) | (np.isnan(inputs) & np.isnan(want))
        self.tally((inputs,), got, want, ~unchanged | over, over)

    def tally(self, operands, got, want, inexact: np.ndarray, over: np.ndarray) -> None:
        """Count results of which it is known where they are inexact and where they overflowed."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        same = (got == want) & (np.signbit(got) == np.signbit(want))
        same |= np.isnan(got) & np.isnan(want)
        self.wrong += int(np.sum(~same))
        self.overflowed += int(np.sum(same & over))
        self.exact += int(np.sum(same & ~inexact & ~over))
        self.rounded += int(np.sum(same & inexact & ~over))
        if not same.all() and not self.first_wrong:
            i = int(np.flatnonzero(~same)[0])
            shown = ", ".join(repr(float(np.ravel(v)[i])) for v in operands)
            self.first_wrong = f"{shown} -> {float(got[i])!r}, want {float(want[i])!r}"


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
            if exhaustive and (f.name in _PEERS or f == TF32):
                yield f"{f.name} convert every float32", partial(_every_float32, f)
                for mode in ROUNDING if f.name in _PROFILED else ():
                    label = f"{f.name} convert every float32 {mode}"
                    yield label, partial(_every_float32_twice, f, mode)
        for op in operations:
            if op not in ("decode", "encode", "convert") and f.has_nan:
                yield from _operation_checks(f, op, exhaustive)


def _operation_checks(f: Format, op: str, exhaustive: bool):
    """One operand: every code of up to 16 bits. Two: every pair of up to 8. Else a sample."""
    every = exhaustive and (op in PAIRS or op == "sqrt") and f.bits <= 8
    for mode in MODES if every else MODES[:1]:
        for saturation in SATURATION if every else ("none",):
            setting = mode if saturation == "none" else f"{mode}, {saturation}"
            label = f"{f.name} {op} {setting}"
            yield label, partial(_operation, f, op, mode, saturation, setting, exhaustive)


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


def _operation(f, op, mode, saturation, setting, exhaustive) -> Outcome:
    """`op` against `exact`."""
    count = exact.OPERANDS[op]
    cheap = op in PAIRS or op == "sqrt"
    operands: tuple[np.ndarray, ...]
    if count == 1 and f.bits <= (16 if cheap or exhaustive else 8):
        operands, which = (decode(np.arange(1 << f.bits), f),), "every code"
    elif count == 2 and f.bits <= 8 and (cheap or exhaustive):
        every = decode(np.arange(1 << f.bits), f)
        operands, which = tuple(v.reshape(-1) for v in np.meshgrid(every, every)), "every pair"
    else:
        operands, which = _sample(f, op, count), "sample"
    outcome = Outcome(f.name, op, f"{which}, {setting}", "exact")
    settings = {"rounding": mode, "saturation": saturation}
    got = elementwise.apply(op, *operands, f=f, **settings)
    rows = zip(*(v.tolist() for v in operands), strict=True)
    want = np.array([exact.compute(op, *row, f=f, **settings) for row in rows])
    if f == FP64 and op in functions.IN_FP64:  # stated to be within one last place
        outcome.op += " (within one ulp)"
        close = np.abs(got - want) <= np.spacing(np.abs(want))
        got = np.where(close, want, got)
    flags = elementwise.flags_of(op, *operands, f=f, **settings)
    inexact, over = flags & Flag.INEXACT != 0, flags & Flag.OVERFLOW != 0
    outcome.tally(operands, got, want, inexact, over)
    return outcome


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


_PEERS = {f.name: name for name, f in DTYPES.items() if f.bits <= 16}


def _every_float32(f: Format) -> Outcome:
    """All 2**32 float32 inputs to nearest even, against NumPy, ml_dtypes or plain integers."""
    convert, judge = _judge_of_float32(f)
    outcome = Outcome(f.name, "convert", "every float32", judge)
    for high in range(256):
        codes = np.arange(high << 24, (high + 1) << 24, dtype=np.uint32)
        x = codes.view(np.float32)
        if not f.has_nan:  # what NaN becomes there is the peer's own rule
            x = x[~np.isnan(x)]
        if f == E8M0:  # ml_dtypes takes ties and all below 2**-126 up
            x = x[~((x > 2.0**-127) & (x < 2.0**-126))]
        mode = "nearest_away" if f == E8M0 else "nearest_even"
        with np.errstate(all="ignore"):
            want, wide = convert(x), x.astype(np.float64)
        outcome.add(wide, quantize(x, f, rounding=mode), want, _edge(f, mode))
    return outcome


# The formats whose float32 kernels are tuned, and so checked in every mode.
_PROFILED = ("fp16", "bf16", "tf32", "e4m3", "e5m2")


def _every_float32_twice(f: Format, mode: str) -> Outcome:
    """All 2**32 float32 inputs by the float32 kernel against the float64 kernel, which shares no
    step with it and is held against `exact` elsewhere."""
    outcome = Outcome(f.name, "convert", f"every float32, {mode}", "float64 kernel")
    for high in range(256):
        codes = np.arange(high << 24, (high + 1) << 24, dtype=np.uint32)
        x = codes.view(np.float32)
        with np.errstate(all="ignore"):
            wide = x.astype(np.float64)
        want = quantize(wide, f, rounding=mode, seed=high)
        outcome.add(wide, quantize(x, f, rounding=mode, seed=high), want, _edge(f, mode))
    return outcome


def _judge_of_float32(f: Format):
    if f == TF32:
        return _tf32_of, "integers"
    import ml_dtypes

    name = _PEERS[f.name]
    dtype = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    judge = "NumPy" if name == "float16" else "ml_dtypes"
    return lambda x: x.astype(dtype).astype(np.float64), judge


def _tf32_of(x: np.ndarray) -> np.ndarray:
    """Thirteen bits dropped: half of the last place less one added, and one more if it is odd."""
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000
    return np.where(np.isnan(x), x, rounded.astype(np.uint32).view(np.float32)).astype(np.float64)


def _edge(f: Format, mode: str) -> float:
    return min(overflow_edge(f, mode, negative=negative) for negative in (False, True))


def total(outcomes: list[Outcome]) -> Outcome:
    """The sum of all counts."""
    fields = ("exact", "rounded", "overflowed", "wrong")
    sums: dict[str, Any] = {name: sum(getattr(o, name) for o in outcomes) for name in fields}
    first = next(itertools.chain((o.first_wrong for o in outcomes if o.first_wrong), [""]))
    return Outcome("total", "", "", "", **sums, first_wrong=first)
