"""Speed of products in which every step is rounded, beside what a user could do without fpemu."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator

import numpy as np

from fpemu.arrays import array
from fpemu.bench.arrays import Row
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


def rows(n: int, repeats: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The measurements for products of n x n matrices: `ratio` is the speed relative to the first, NumPy's
    own for float16, and `ns_per_element` the time of a multiply-add."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, n)) * 0.3, rng.normal(size=(n, n)) * 0.3
    half_a, half_b = a.astype(np.float16), b.astype(np.float16)
    base: list[float] = []

    def measured(what: str, f: str, model: str, run: Callable[[], object], share: float) -> Row:
        ns = _median(run, repeats) / (n**3 * share) * 1e9
        base.append(ns)
        return Row("matmul", what, f, model, "NumPy float16", base[0] / ns, ns)

    def plain(what: str, f: str, model: str, run: Callable[[], object]):
        return what, lambda: measured(what, f, model, run, 1.0)

    yield plain("NumPy @", "fp16", "unnamed", lambda: half_a @ half_b)
    single_a, single_b = a.astype(np.float32), b.astype(np.float32)
    yield plain("NumPy @", "fp32", "unnamed (BLAS: the ceiling)", lambda: single_a @ single_b)
    if importlib.util.find_spec("torch"):
        for f, dtype in (("fp16", "float16"), ("bf16", "bfloat16")):
            yield plain("torch, loop over k", f, f"{f} sequential", _torch_loop(a, b, dtype))
    for name, model in PRODUCTS:
        x, y = array(a, name), array(b, name)
        slow = any(word in model for word in ("rounding", "product", "correction", "neumaier"))
        part = x[: max(n // 4, 1)] if slow else x

        def run(part=part, y=y, model=model) -> object:
            return matmul(part, y, accumulate=model)

        def speed(run=run, name=name, model=model, share=part.shape[0] / n) -> Row:
            return measured("fpemu", name, model, run, share)

        yield f"fpemu {name}, {model}", speed


def _median(run: Callable[[], object], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def _torch_loop(a: np.ndarray, b: np.ndarray, dtype: str) -> Callable[[], object]:
    """The strongest loop that a user can write: outer products, each step rounded by torch."""
    import torch

    x, y = (torch.from_numpy(v).to(getattr(torch, dtype)) for v in (a, b))

    def run() -> object:
        kept = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            total = torch.zeros(x.shape[0], y.shape[1], dtype=x.dtype)
            for k in range(x.shape[1]):
                total = total + x[:, k : k + 1] * y[k : k + 1]
            return total
        finally:
            torch.set_num_threads(kept)

    return run
