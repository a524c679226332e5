"""Speed of products in which every step is rounded, beside what a user could do without fpemu.

A name says little about how a library rounds. So each way also adds 4096 ones: step by step that
gives 2048 in FP16, 256 in BF16 and 16 in E4M3, where the gap to the next number is 2; rounded once
at the end it gives 4096 (in E4M3, whose maximum is 448, NaN).
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fpemu.accumulation import threads
from fpemu.arrays import array
from fpemu.bench.arrays import Row, median_ratio
from fpemu.bench.peers import Contender, LeftOut, everyone, plain_loop
from fpemu.linalg import matmul

# Format, accumulation model.
PRODUCTS = [
    *((name, f"{name} sequential") for name in ("fp16", "bf16", "tf32", "e4m3", "e5m2", "fp32")),
    ("e3m4", "e3m4 sequential"),
    ("fp16", "fp32 sequential"),
    ("fp16", "fp16 pairwise"),
    ("fp16", "fp16 blocked:64"),
    ("fp16", "fp16 kahan"),
    ("bf16", "bf16 kahan"),
    ("fp16", "fp16 kahan correction=fp32"),
    ("fp16", "fp16 neumaier"),
    ("fp16", "fp16 fabsum:64"),
    ("fp16", "fp16 sequential product=exact"),
    ("bf16", "bf16 sequential product=exact"),
    ("fp16", "fp16 sequential rounding=toward_zero"),
    ("bf16", "bf16 sequential rounding=to_odd"),
    ("fp16", "fp16 sequential rounding=stochastic seed=1"),
    ("bf16", "bf16 sequential rounding=stochastic seed=1"),
    ("fp16", "fp16 sequential saturation=finite"),
    ("e4m3", "fp32 exact"),
    ("fp16", "fp32 exact"),
]
# Those in two more tables: all threads beside one, and one thread beside the plain loop.
THREADED = ("fp16 sequential", "bf16 sequential", "e4m3 sequential")
COSTS = (
    *("fp32 sequential", *THREADED, "fp16 kahan", "fp16 neumaier"),
    *("fp16 sequential rounding=stochastic seed=1", "fp16 exact"),
)
_LONG = 0.25  # seconds: what would take longer is measured on some of the rows


def contenders() -> tuple[list[Contender], list[str]]:
    """Everyone to be measured, the peers first, and the modules that are missing for more."""
    ours = [Contender("fpemu", f, m, fpemu_product(f, m), threads.threads()) for f, m in PRODUCTS]
    peers = list(everyone())
    missing = [n for n in dict.fromkeys(p.needs for p in peers) if not importlib.util.find_spec(n)]
    return [p for p in peers if p.needs not in missing] + ours, missing


def fpemu_product(name: str, model: str):
    """fpemu's product of operands in a format by a model, as a contender is prepared."""

    def prepare(a: np.ndarray, b: np.ndarray) -> Callable[[], object]:
        x, y = array(a, name), array(b, name)
        return lambda: matmul(x, y, accumulate=model)

    return prepare


def rows(n: int, repeats: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The measurements for products of n x n matrices: `ratio` is the speed relative to the first, NumPy's
    own for float16, and `ns_per_element` the time of a multiply-add."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, n)) * 0.3, rng.normal(size=(n, n)) * 0.3
    few = max(n // 8, 1)
    everybody, _ = contenders()
    base = everybody[0].prepare(a[:few], b)

    def measured(one: Contender) -> Row:
        with np.errstate(all="ignore"):
            ones = float(one.prepare(np.ones((1, 4096)), np.ones((4096, 1)))()[0, 0])
            count = _affordable(one.prepare, a, b)
            run = one.prepare(a[:count], b)
            ratio, seconds = median_ratio(run, base, repeats if count == n else min(repeats, 3))
        ns = seconds / (count * n * n) * 1e9
        ratio = 1.0 if one is everybody[0] else count / few / ratio
        where = ("matmul", one.what, one.format, one.model, "NumPy float16")
        return Row(*where, ratio, ns, threads=one.threads, ones=ones)

    def attempted(one: Contender) -> Row:
        try:
            return measured(one)
        except (ImportError, OSError, RuntimeError) as error:
            if one.what == "fpemu":
                raise
            raise LeftOut(f"{one.what} ({error})") from error

    for one in everybody:
        yield f"{one.what}, {one.format}: {one.model}", partial(attempted, one)
    for model in THREADED:
        yield f"threads, {model}", partial(_threaded, model, a, b, repeats)
    for model in COSTS:
        yield f"beside a plain loop, {model}", partial(_cost, model, a, b, repeats)


def _affordable(prepare, a: np.ndarray, b: np.ndarray) -> int:
    """How many rows of `a` take about as long as a measurement may."""
    few = max(len(a) // 64, 1)
    run = prepare(a[:few], b)
    run()
    started = time.perf_counter()
    run()
    taken = max(time.perf_counter() - started, 1e-9) / few
    return int(min(max(_LONG / taken, few), len(a)))


@contextlib.contextmanager
def threads_used(count: int) -> Iterator[None]:
    """`count` threads for the products inside.

    >>> with threads_used(1):
    ...     threads.threads()
    1
    """
    kept = threads.threads
    threads.threads = lambda: count
    try:
        yield
    finally:
        threads.threads = kept


def _with_threads(run: Callable[[], object], count: int) -> Callable[[], object]:
    def limited() -> object:
        with threads_used(count):
            return run()

    return limited


def _threaded(model: str, a: np.ndarray, b: np.ndarray, repeats: int) -> Row:
    """The speed on all threads relative to that on one."""
    name, count = model.split()[0], threads.threads()
    run = fpemu_product(name, model)(a, b)
    ratio, seconds = median_ratio(_with_threads(run, count), _with_threads(run, 1), repeats)
    ns = seconds / (len(a) * b.size) * 1e9
    where = ("matmul pairs", "fpemu", name, model, "the same on 1 thread")
    return Row(*where, 1 / ratio, ns, threads=count)


def _cost(model: str, a: np.ndarray, b: np.ndarray, repeats: int) -> Row:
    """The speed relative to the plain float32 loop's, both on one thread and the same rows."""
    name = model.split()[0]
    with threads_used(1):
        count = _affordable(fpemu_product(name, model), a, b)
        run, base = fpemu_product(name, model)(a[:count], b), plain_loop(a[:count], b)
        ratio, seconds = median_ratio(run, base, repeats)
    ns = seconds / (count * b.size) * 1e9
    where = ("matmul pairs", "fpemu", name, model, "a plain float32 loop, 1 thread")
    return Row(*where, 1 / ratio, ns, threads=1)
