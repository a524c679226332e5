"""Conversions: every code, the points between values, and every float32."""

from __future__ import annotations

import numpy as np

from fpemu import exact
from fpemu.carriers import overflow_edge
from fpemu.convert import decode, encode, quantize
from fpemu.formats import DTYPES, E8M0, TF32, Format
from fpemu.verify.outcome import Outcome

# The formats whose float32 kernels are tuned, and so checked in every mode.
TUNED = ("fp16", "bf16", "tf32", "e4m3", "e5m2")
_PEERS = {f.name: name for name, f in DTYPES.items() if f.bits <= 16}


def every_code(f: Format, op: str) -> list[Outcome]:
    """Every code to its value, or back."""
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
    return [outcome]


def between_values(f: Format, modes: tuple[str, ...], exhaustive: bool) -> list[Outcome]:
    """Every value and midpoint, the float64s beside them, and the ends of float64, in each mode."""
    points = _points(f, exhaustive)
    with np.errstate(over="ignore"):
        single = points.astype(np.float32)
    outcomes = []
    for mode in modes:
        outcome = Outcome(f.name, "convert", mode, "exact")
        for x in (points, single):
            want = np.array([exact.round_to(v, f, rounding=mode) for v in x.tolist()])
            outcome.add(x.astype(np.float64), quantize(x, f, rounding=mode), want, _edge(f, mode))
        outcomes.append(outcome)
    return outcomes


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


def has_peer(f: Format) -> bool:
    """Whether another library, or plain integers, can judge conversions from float32 to `f`."""
    return f.name in _PEERS or f == TF32


def every_float32_by_a_peer(f: Format) -> list[Outcome]:
    """All 2**32 float32 inputs to nearest even, against NumPy, ml_dtypes or plain integers."""
    convert, judge = _judge_of_float32(f)
    outcome = Outcome(f.name, "convert", "every float32", judge)
    mode = "nearest_away" if f == E8M0 else "nearest_even"
    for x in _every_float32():
        if not f.has_nan:  # what NaN becomes there is the peer's own rule
            x = x[~np.isnan(x)]
        if f == E8M0:  # ml_dtypes takes ties and all below 2**-126 up
            x = x[~((x > 2.0**-127) & (x < 2.0**-126))]
        with np.errstate(all="ignore"):
            want, wide = convert(x), x.astype(np.float64)
        outcome.add(wide, quantize(x, f, rounding=mode), want, _edge(f, mode))
    return [outcome]


def every_float32_by_the_float64_kernel(f: Format, mode: str) -> list[Outcome]:
    """All 2**32 float32 inputs by the float32 kernel against the float64 kernel, which shares no
    step with it and is held against `exact` elsewhere."""
    outcome = Outcome(f.name, "convert", f"every float32, {mode}", "float64 kernel")
    for part, x in enumerate(_every_float32()):
        with np.errstate(all="ignore"):
            wide = x.astype(np.float64)
        want = quantize(wide, f, rounding=mode, seed=part)
        outcome.add(wide, quantize(x, f, rounding=mode, seed=part), want, _edge(f, mode))
    return [outcome]


PARTS = range(256)


def _every_float32():
    """All 2**32 float32: 256 parts, in pieces that stay in the processor's cache."""
    for part in PARTS:
        for low in range(part << 24, (part + 1) << 24, 1 << 18):
            yield np.arange(low, low + (1 << 18), dtype=np.uint32).view(np.float32)


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
