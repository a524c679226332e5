"""Speed, measured side by side: every figure is a median of ratios taken alternately in one run."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from fpemu.arrays import Array, array
from fpemu.convert import quantize
from fpemu.formats import BF16, E4M3, E5M2, FP16, TF32, Format
from fpemu.interchange import dtype_of
from fpemu.rounding import ROUNDING

FORMATS = (FP16, BF16, TF32, E4M3, E5M2)
TABLES = ("quantize", "elementwise", "start")


@dataclass
class Row:
    """One measurement: `ratio` is the median of the times relative to `against`."""

    table: str
    what: str
    format: str
    mode: str
    against: str
    ratio: float
    ns_per_element: float
    target: float | None = None


def rows(tables: tuple[str, ...], size: int, repeats: int) -> Iterator[tuple[str, Callable]]:
    """The measurements, each with a label and a function that returns a `Row`."""
    if "quantize" in tables:
        x = spread(size)
        for f in FORMATS:
            for mode in ROUNDING:
                yield f"quantize {f.name} {mode}", lambda f=f, m=mode: _quantize(x, f, m, repeats)
            for name, convert in peers_of_quantize(f):
                label = f"{name} {f.name}"
                yield label, lambda f=f, n=name, c=convert: _peer(x, f, n, c, repeats)
    if "elementwise" in tables:
        for f in (FP16, BF16, E4M3, E5M2):
            for op in ("add", "subtract", "multiply", "divide", "sqrt"):
                yield f"{op} {f.name}", lambda f=f, o=op: _elementwise(o, f, size, repeats)
    if "start" in tables:
        for what in ("first use", "later start", "import"):
            yield what, lambda w=what: _start(w)


def spread(size: int) -> np.ndarray:
    """float32 of both signs and exponents from -30 to 17, evenly."""
    rng = np.random.default_rng(0)
    values = np.ldexp(rng.random(size) + 1, rng.integers(-30, 18, size))
    return (values * rng.choice([-1.0, 1.0], size)).astype(np.float32)


def median_ratio(
    run: Callable[[], object], base: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """The median of time of `run` over time of `base`, and the median seconds of `run`."""
    run(), base()
    ratios, seconds = [], []
    for _ in range(repeats):
        base_time, run_time = _seconds(base), _seconds(run)
        ratios.append(run_time / base_time)
        seconds.append(run_time)
    return float(np.median(ratios)), float(np.median(seconds))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _quantize(x: np.ndarray, f: Format, mode: str, repeats: int) -> Row:
    out = np.empty_like(x)
    ratio, seconds = median_ratio(
        lambda: quantize(x, f, rounding=mode, out=out), lambda: np.copyto(out, x), repeats
    )
    target = 4.0 if mode == "stochastic" else 1.5
    return Row("quantize", "fpemu", f.name, mode, "copy", ratio, seconds / x.size * 1e9, target)


def peers_of_quantize(f: Format) -> Iterator[tuple[str, Callable[[np.ndarray], object]]]:
    """What else is installed here that rounds float32 to `f` and back."""
    if f != TF32:
        dtype = dtype_of(f)
        name = "NumPy" if dtype.type.__module__ == "numpy" else "ml_dtypes"
        yield name, lambda x: x.astype(dtype).astype(np.float32)
    torch_name = {"fp16": "float16", "bf16": "bfloat16", "e4m3": "float8_e4m3fn"}.get(
        f.name, "float8_e5m2" if f == E5M2 else ""
    )
    if torch_name and importlib.util.find_spec("torch"):
        yield "torch", _torch_round_trip(torch_name)


def _torch_round_trip(name: str) -> Callable[[np.ndarray], object]:
    def convert(x: np.ndarray) -> object:
        import torch

        return torch.from_numpy(x).to(getattr(torch, name)).to(torch.float32)

    return convert


def _peer(x: np.ndarray, f: Format, name: str, convert, repeats: int) -> Row:
    out = np.empty_like(x)
    with np.errstate(all="ignore"):
        ratio, seconds = median_ratio(lambda: convert(x), lambda: np.copyto(out, x), repeats)
    ns = seconds / x.size * 1e9
    return Row("quantize", name, f.name, "nearest_even", "copy", ratio, ns)


def _elementwise(op: str, f: Format, size: int, repeats: int) -> Row:
    rng = np.random.default_rng(1)
    x, y = (array(rng.uniform(0.5, 2, size), f) for _ in range(2))
    operands: tuple[Array, ...] = (x,) if op == "sqrt" else (x, y)
    plain = [v.to_numpy() for v in operands]
    function = getattr(np, op)
    ratio, seconds = median_ratio(lambda: function(*operands), lambda: function(*plain), repeats)
    target = 3.0 if op in ("divide", "sqrt") else 2.0
    ns = seconds / size * 1e9
    return Row("elementwise", op, f.name, "nearest_even", "NumPy float32", ratio, ns, target)


_FIRST = "import numpy as np, time; t = time.perf_counter(); import fpemu as fp; "
_USE = "fp.quantize(np.ones(8, np.float32), 'fp16'); "
_PRINT = "print(time.perf_counter() - t)"


def _start(what: str) -> Row:
    """Seconds in a fresh process: with an empty cache of kernels, with a filled one, import only."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}

        def run(code: str) -> float:
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=environment, capture_output=True, check=True)
            return float(done.stdout)

        if what == "import":
            seconds = run(_FIRST + _PRINT)
        else:
            seconds = run(_FIRST + _USE + _PRINT)
            if what == "later start":
                seconds = run(_FIRST + _USE + _PRINT)
    return Row("start", what, "fp16", "nearest_even", "seconds", seconds, float("nan"))


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    versions = {
        name: metadata.version(name)
        for name in ("numpy", "numba", "ml_dtypes", "torch")
        if importlib.util.find_spec(name)
    }
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **versions,
    }
