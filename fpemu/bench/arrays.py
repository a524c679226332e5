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

from fpemu import convert
from fpemu.arrays import Array, array
from fpemu.carriers import target_of
from fpemu.context import arithmetic
from fpemu.convert import quantize
from fpemu.events import trace
from fpemu.formats import BF16, E4M3, E5M2, FP16, TF32, Format
from fpemu.interchange import dtype_of
from fpemu.rounding import ROUNDING

FORMATS = (FP16, BF16, TF32, E4M3, E5M2)
TABLES = ("quantize", "elementwise", "trace", "start")


@dataclass
class Row:
    """One measurement: `ratio` is the median of the times relative to `against`; for products of the
    speeds, with the number of threads (None: the library's choice) and what 4096 ones add up to."""

    table: str
    what: str
    format: str
    mode: str
    against: str
    ratio: float
    ns_per_element: float
    target: float | None = None
    threads: int | None = 1
    ones: float | None = None


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
    if "trace" in tables:
        for what in WATCHING:
            yield what, lambda w=what: _watching(w, size, repeats)
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
    """What else is installed here that rounds float32 to `f` and back, on one thread."""
    if f != TF32:
        dtype = dtype_of(f)
        name = "NumPy" if dtype.type.__module__ == "numpy" else "ml_dtypes"
        yield name, lambda x: x.astype(dtype).astype(np.float32)
        yield from _if_installed("torch", lambda: _torch_round_trip(dtype.name))
        yield from _if_installed("gfloat", lambda: _gfloat(f))
    if f.has_inf:
        yield from _if_installed("pychop", lambda: _pychop(f))
        yield from _if_installed("apytypes", lambda: _apytypes(f))


def _if_installed(library: str, make: Callable[[], Callable[[np.ndarray], object]]):
    if importlib.util.find_spec(library):
        yield library, make()


def _torch_round_trip(name: str) -> Callable[[np.ndarray], object]:
    import torch

    dtype = getattr(torch, name)

    def convert(x: np.ndarray) -> object:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return torch.from_numpy(x).to(dtype).to(torch.float32)
        finally:
            torch.set_num_threads(threads)

    return convert


def _gfloat(f: Format) -> Callable[[np.ndarray], object]:
    import gfloat
    from gfloat import formats

    name = {"fp16": "binary16", "bf16": "bfloat16"}.get(f.name, f"ocp_{f.name}")
    info = getattr(formats, f"format_info_{name}")
    return lambda x: gfloat.round_ndarray(info, x)


def _pychop(f: Format) -> Callable[[np.ndarray], object]:
    import pychop

    return pychop.Chop(f.exponent_bits, f.fraction_bits, rmode=1)


def _apytypes(f: Format) -> Callable[[np.ndarray], object]:
    from apytypes import APyFloatArray

    return lambda x: APyFloatArray.from_array(x, f.exponent_bits, f.fraction_bits).to_numpy()


_LONG = 0.3  # seconds after which a peer is measured on part of the array, and less often


def _peer(x: np.ndarray, f: Format, name: str, convert, repeats: int) -> Row:
    with np.errstate(all="ignore"):
        convert(x[:1000])
        if _seconds(lambda: convert(x[: x.size // 20])) > _LONG / 20:
            x, repeats = x[: x.size // 8], min(repeats, 3)
        out = np.empty_like(x)
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


WATCHING = ("quantize: no trace", "quantize: trace", "add: no trace", "add: trace", "add: flags")


def _watching(what: str, size: int, repeats: int) -> Row:
    """What counting costs: without a trace relative to the bare kernel, with one relative to that."""
    x = spread(size)
    out = np.empty_like(x)
    a, b = array(x, FP16), array(x[::-1], FP16)
    target = target_of(FP16, "none", carrier="float32")
    op, _, how = what.partition(": ")

    def kernel() -> object:
        from fpemu.kernels import elementwise, quantize

        if op == "quantize":
            return quantize.quantize32[0](x, target, out)
        return elementwise.in_float32["add", False](a._values, b._values, target, np.empty_like(x))

    def plain() -> object:
        return convert.quantize(x, FP16, out=out) if op == "quantize" else a + b

    def watched() -> object:
        with arithmetic() if how == "flags" else trace():
            return plain()

    if how == "no trace":
        against, ratio = "the bare kernel", median_ratio(plain, kernel, repeats)
    else:
        against, ratio = "no trace", median_ratio(watched, plain, min(repeats, 5))
    return Row("trace", what, "fp16", "nearest_even", against, ratio[0], ratio[1] / size * 1e9)


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
    """What the figures were measured on; the load tells whether the cores were free."""
    versions = {
        name: metadata.version(name)
        for name in ("numpy", "numba", "ml_dtypes", "torch", "gfloat", "pychop", "apytypes")
        if importlib.util.find_spec(name)
    }
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        **({"load": f"{os.getloadavg()[0]:.1f}"} if hasattr(os, "getloadavg") else {}),
        "python": platform.python_version(),
        **versions,
    }
