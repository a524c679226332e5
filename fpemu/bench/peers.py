"""Matrix products as other libraries compute them: what each is, and how to call it.

Each way of calling takes the float64 matrices and returns a function without arguments, so that
conversions stay out of the time. Libraries are imported only when their turn comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpemu.formats import BF16, E4M3, FP16, Format
from fpemu.interchange import dtype_of

Prepare = Callable[[np.ndarray, np.ndarray], Callable[[], Any]]


@dataclass(frozen=True)
class Contender:
    """A way to a product: who computes, on what operands, how sums are rounded, on how many threads
    (None: as many as the library likes)."""

    what: str
    format: str
    model: str
    prepare: Prepare
    threads: int | None = 1
    needs: str = "numpy"  # the module without which it is left out


class LeftOut(Exception):
    """A library that is installed, but does not run here; says which, and why."""


AT_THE_END = "rounds once at the end"
UNNAMED = "unnamed, the library's own"


def everyone() -> Iterator[Contender]:
    """All of them, installed or not; the first is what the others are compared with."""
    yield Contender("NumPy @", "fp16", "fp32, " + AT_THE_END, _at("float16"))
    yield Contender("NumPy @", "fp32", UNNAMED + " (BLAS: the ceiling)", _at("float32"), None)
    yield Contender("Numba, plain loop", "fp32", "fp32 sequential", plain_loop, needs="numba")
    for f in (FP16, BF16, E4M3):
        who = "NumPy" if f == FP16 else "ml_dtypes"
        dtype = dtype_of(f)
        yield Contender(f"{who}, loop over k", f.name, f"{f.name} sequential", _loop(dtype))
    for f in (FP16, BF16):
        name = dtype_of(f).name
        sequential = f"{f.name} sequential"
        # On one thread: it starts them anew at each of 2k steps, which makes two slower than one
        # wherever anything else runs.
        way = _torch(name, "loop", 1)
        yield Contender("torch, loop over k", f.name, sequential, way, needs="torch")
        yield Contender("torch @", f.name, UNNAMED, _torch(name, "@", None), None, "torch")
    for f in (FP16, BF16):
        sequential = f"{f.name} sequential"
        yield Contender("apytypes @", f.name, sequential, _apytypes(f), None, "apytypes")
    stochastic = "fp16 sequential, stochastic"
    way = _apytypes(FP16, "STOCH_WEIGHTED")
    yield Contender("apytypes @", "fp16", stochastic, way, None, "apytypes")
    way = _gfloat("format_info_binary16")
    yield Contender("gfloat, loop over k", "fp16", "fp16 sequential", way, needs="gfloat")
    yield Contender("pychop @", "fp16", "fp64, " + AT_THE_END, _pychop, None, "pychop")
    for f in (FP16, BF16):
        sequential = f"{f.name} sequential"
        yield Contender("MPTorch", f.name, sequential, _mptorch(f), None, "mptorch")


def _at(dtype: str) -> Prepare:
    def prepare(a, b):
        x, y = a.astype(dtype), b.astype(dtype)
        return lambda: x @ y

    return prepare


def plain_loop(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    """The product that rounds as the processor does, in a loop as anyone writes it, k outside: what
    remains of a product when nothing but FP32's own rounding has to be done."""
    from numba import njit

    if not _compiled:

        @njit
        def product(a, b, c):
            for i in range(a.shape[0]):
                for k in range(a.shape[1]):
                    for j in range(b.shape[1]):
                        c[i, j] += a[i, k] * b[k, j]
            return c

        _compiled.append(product)
    x, y = (np.ascontiguousarray(v, np.float32) for v in (a, b))
    return lambda: _compiled[0](x, y, np.zeros((x.shape[0], y.shape[1]), np.float32))


_compiled: list[Callable] = []


def _outer_products(x, y, total):
    """The strongest loop that a user can write: outer products, each step rounded by the library."""
    for k in range(x.shape[1]):
        total = total + x[:, k : k + 1] * y[k : k + 1]
    return total


def _loop(dtype: np.dtype) -> Prepare:
    def prepare(a, b):
        x, y = a.astype(dtype), b.astype(dtype)
        return lambda: _outer_products(x, y, np.zeros((x.shape[0], y.shape[1]), dtype))

    return prepare


def _torch(dtype: str, way: str, threads: int | None) -> Prepare:
    def prepare(a, b):
        import torch

        x, y = (torch.from_numpy(v).to(getattr(torch, dtype)) for v in (a, b))

        def run():
            with torch_threads(threads or torch.get_num_threads()):
                if way == "@":
                    return x @ y
                return _outer_products(x, y, torch.zeros(len(x), y.shape[1], dtype=x.dtype))

        return run

    return prepare


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch on so many threads inside."""
    import torch

    kept = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(kept)


def _apytypes(f: Format, mode: str = "TIES_EVEN") -> Prepare:
    """Its `@` rounds each product and each partial sum, in order, if the accumulator's context says
    nothing else."""

    def prepare(a, b):
        from apytypes import APyFloatAccumulatorContext, APyFloatArray, QuantizationMode

        size = (f.exponent_bits, f.fraction_bits)
        x, y = (APyFloatArray.from_array(v, *size) for v in (a, b))

        def run():
            with APyFloatAccumulatorContext(*size, quantization=getattr(QuantizationMode, mode)):
                return x @ y

        return run

    return prepare


def _gfloat(name: str) -> Prepare:
    def prepare(a, b):
        import gfloat
        from gfloat import formats

        info = getattr(formats, name)
        x, y = (gfloat.round_ndarray(info, v) for v in (a, b))

        def run():
            total = np.zeros((len(x), y.shape[1]))
            for k in range(x.shape[1]):
                product = gfloat.round_ndarray(info, x[:, k : k + 1] * y[k : k + 1])
                total = gfloat.round_ndarray(info, total + product)
            return total

        return run

    return prepare


def _pychop(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
    import pychop
    from pychop.builtin.cparray import CPArray

    x, y = (CPArray(v, pychop.Chop(FP16.exponent_bits, FP16.fraction_bits)) for v in (a, b))
    return lambda: x @ y


def _mptorch(f: Format) -> Prepare:
    """MPTorch compiles its kernels when it is imported."""

    def prepare(a, b):
        import torch
        from mptorch.quant import float_mm

        x, y = (torch.from_numpy(v.astype(np.float32)) for v in (a, b))
        sizes = {"exp_add": f.exponent_bits, "man_add": f.fraction_bits}
        sizes |= {"exp_mul": f.exponent_bits, "man_mul": f.fraction_bits}
        return lambda: float_mm(x, y, **sizes, fma=False, saturate=False)

    return prepare
