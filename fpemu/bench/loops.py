"""The inner loops of products, compiled here and now, and what their assembly says.

Kernels that come from Numba's cache on disk have no assembly any more, so each is compiled anew, with
the same options; that takes some seconds in all.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fpemu.bench import assembly
from fpemu.carriers import target_of
from fpemu.errors import UnsupportedError
from fpemu.formats import BF16, E4M3, FP16

_FEATURES = (
    *("sse2", "avx", "avx2", "fma", "f16c"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl"),
)


@dataclass
class Packed:
    """The main loop of a kernel: bits and elements that its narrowest instruction computes at once,
    elements per turn, instructions per element, parts of the instruction set used."""

    what: str
    kernel: str
    bits: int
    elements: int
    turn: int
    instructions: float
    uses: str
    table: str = "assembly"


def rows() -> list[tuple[str, Callable[[], Packed]]]:
    """The loops, each with a label and a function that compiles and reads it."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise UnsupportedError(
            f"the assembly of this processor ({platform.machine()}) is not read, only that of x86-64; "
            "choose other tables of fpemu bench"
        )
    return [(f"assembly, {one[0]}", partial(_read, *one)) for one in _kernels()]


def processor() -> tuple[str, ...]:
    """The processor that LLVM compiles for, then those of its features that matter here."""
    from fpemu.kernels import processor

    name, features = processor.target()
    return name, *(f for f in _FEATURES if f in features)


def _kernels() -> Iterator[tuple[str, Any, str, tuple[Any, ...], str, int]]:
    """What it is, the kernel, what is in the name of the function with the loop, arguments, and an
    instruction that is there for every element, and how often."""
    from fpemu.kernels import bins, compensated, counting, matmul, sequential, step, stepwise

    x, y = np.ones((2, 2), np.float32), np.ones((2, 2))
    narrow = target_of(E4M3, "finite", carrier="float32")
    bf16, wide = (
        target_of(f, "none", carrier=c) for f, c in ((BF16, "float32"), (FP16, "float64"))
    )
    one = np.float32(1)
    has_half = "f16c" in processor()
    if has_half:
        yield "FP16", sequential.half, "half", (x, x, x), "mul", 1
    yield "E4M3", sequential.magic, "magic", (x, x, x, narrow.tiny, one), "mul", 1
    yield "BF16", sequential.masked, "masked", (x, x, x, bf16.dropped), "mul", 1
    yield "FP32", sequential.native, "native", (x, x, x), "mul", 1
    yield "any format in float32", matmul.matmul32, "_row", (x, x, x, narrow), "mul", 1
    place = stepwise.Place(wide, 0.0, 0.0, counting.Watch(*[0.0] * 7))
    work = stepwise.Work(0, 4, 0, 2)
    common = (y, y, y, y, (place,) * 3, work)
    # Stochastic rounding multiplies each of its two thresholds by the size of the last place.
    modes = (
        *(("nearest even", step.NEAREST_EVEN, None, 1), ("toward zero", step.TOWARD_ZERO, None, 1)),
        ("stochastic", step.STOCHASTIC, y, 3),
    )
    for name, mode, random, each in modes:
        loop = stepwise.loop(stepwise.SEQUENTIAL, mode, False, False, False)
        arguments = (*common, random, counting.nothing())
        yield f"any step in float64, {name}", loop, "run", arguments, "mul", each
    if has_half:
        kahan = compensated.loop(False, compensated.HALF, True)
        yield "FP16, Kahan", kahan, "run", (x, x, x, x, narrow), "mul", 1
    yield "exact, in bins", bins.loop(True), "run", (y, y, False, y[0], y, y), "sub", 2


def _read(what: str, kernel, function: str, arguments: tuple, marker: str, each: int) -> Packed:
    """The loop for long rows, which is that with most elements per turn; where several functions are
    asked for, the one that packs least."""
    from numba import njit, typeof

    fresh = njit(nogil=True, error_model="numpy")(kernel.py_func)
    fresh.compile(tuple(map(typeof, arguments)))
    main: dict[str, assembly.Loop] = {}
    for loop in assembly.loops(fresh.inspect_asm(fresh.signatures[0])):
        wrapper = loop.function.startswith(("_ZN7cpython", "cfunc."))
        if function in loop.function and loop.turn(marker) and not wrapper:
            kept = main.setdefault(loop.function, loop)
            if loop.turn(marker) > kept.turn(marker):
                main[loop.function] = loop
    worst = min(main.values(), key=lambda loop: loop.elements)
    turn = worst.turn(marker) // each
    name = f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.py_func.__qualname__.split('.')[0]}"
    instructions = worst.length / turn
    return Packed(what, name, worst.bits, worst.elements, turn, instructions, " ".join(worst.uses))
