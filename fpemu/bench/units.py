"""Speed of matrix units: every one that differs in its numbers, beside a plain float32 loop, and beside
MMA-Sim where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fpemu.accumulation import threads
from fpemu.arrays import Array, array
from fpemu.bench.arrays import Row, median_ratio
from fpemu.bench.peers import plain_loop, torch_threads
from fpemu.bench.products import threads_used
from fpemu.carriers import carrier_dtype
from fpemu.formats import E4M3, FP32, Format
from fpemu.linalg import matmul, scaled_matmul
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.matrix_units.scaled import ScaledInstruction
from fpemu.verify import mmasim, scaled_units
from fpemu.verify.units import distinct

AGAINST = "a plain float32 loop, 1 thread"
_FEW = 64  # rows, columns and at most as many products of a sum for MMA-Sim
Run = Callable[[], object]


@dataclass(frozen=True)
class Subject:
    """What is measured: its name, fpemu's product of operands of shapes (m, k) and (k, n), and MMA-Sim's
    with the k that it takes, 0 if it knows nothing of the kind."""

    label: str
    format: str
    ours: Callable[[int, int, int], Run]
    theirs: Callable[[int, int, int], Run] | None = None
    depth: int = _FEW


def subjects() -> Iterator[Subject]:
    """Every unit that differs from the others in its numbers, both operands of one format."""
    for made, count in distinct():
        if made.a == made.b:
            alike = f" and {count - 1} alike" if count > 1 else ""
            unit = MatrixUnit(made.chip, made.name, made.accumulator, made.shape)
            product, simulated = partial(_product, unit, made.a), partial(_simulated, made)
            yield Subject(f"{made}{alike}", made.a.name, product, simulated)
    for text in ("h100 wgmma promote=128", "h100 wgmma split=2"):
        unit = MatrixUnit.parse(text)
        yield Subject(f"{unit} on e4m3", "e4m3", partial(_product, unit, E4M3))
    for scaled in scaled_units.every_scaled():
        if scaled.a == scaled.b:
            product, simulated = partial(_scaled_product, scaled), partial(_scaled_judge, scaled)
            label = scaled_units.label_of(scaled)
            yield Subject(label, scaled.a.name, product, simulated, scaled.length)


def rows(n: int, repeats: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The measurements for products of (n/2, n) and (n, n/2) matrices: fpemu's on one thread and on all,
    `ratio` being the speed relative to the loop's; then MMA-Sim's, on one thread, on 64 x 64 x 64 (block-scaled: K of one
    instruction), relative to fpemu's on one thread on the larger matrices."""
    m = max(n // 2, 1)
    for subject in subjects():
        speeds: list[float] = []
        for count in sorted({1, threads.threads()}):
            measure = partial(_ours, subject, m, max(n, 1), count, repeats, speeds)
            yield f"{subject.label}, threads: {count}", measure
        if subject.theirs and mmasim.is_installed():
            yield f"{subject.label}, MMA-Sim", partial(_theirs, subject, repeats, speeds)


def _ours(subject: Subject, m: int, k: int, count: int, repeats: int, speeds: list[float]) -> Row:
    run = subject.ours(m, k, m)
    base = plain_loop(_normal(FP32, m, k).to_numpy(), _normal(FP32, k, m).to_numpy())
    with threads_used(count):
        ratio, seconds = median_ratio(run, base, repeats)
    speeds.append(seconds / (m * k * m) * 1e9)
    where = ("units", "fpemu", subject.format, subject.label, AGAINST)
    return Row(*where, 1 / ratio, speeds[-1], threads=count)


def _theirs(subject: Subject, repeats: int, speeds: list[float]) -> Row:
    assert subject.theirs is not None
    run = subject.theirs(_FEW, subject.depth, _FEW)
    with torch_threads(1):
        _, seconds = median_ratio(run, lambda: None, repeats)
    ns = seconds / (_FEW * subject.depth * _FEW) * 1e9
    where = ("units", "MMA-Sim", subject.format, subject.label, "fpemu, 1 thread")
    return Row(*where, speeds[0] / ns, ns, threads=1)


def _normal(f: Format, *shape: int) -> Array:
    return array(np.random.default_rng(0).normal(size=shape), f)


def _product(unit: MatrixUnit, f: Format, m: int, k: int, n: int) -> Run:
    a, b = _normal(f, m, k), _normal(f, k, n)
    return lambda: matmul(a, b, accumulate=unit)


def _simulated(made: Instruction, m: int, k: int, n: int) -> Run:
    a, b = _normal(made.a, m, k).to_numpy(), _normal(made.b, k, n).to_numpy()
    c = np.zeros((m, n), carrier_dtype(made.accumulator))
    return lambda: mmasim.judge(a, b, c, made)


def _scaled(made: ScaledInstruction, m: int, k: int, n: int) -> list[Array]:
    blocks = max(k // made.block, 1)
    ones = (array(np.ones(shape), made.scale) for shape in ((m, blocks), (blocks, n)))
    return [_normal(made.a, m, blocks * made.block), _normal(made.b, blocks * made.block, n), *ones]


def _scaled_product(made: ScaledInstruction, m: int, k: int, n: int) -> Run:
    operands = _scaled(made, m, k, n)
    return lambda: scaled_matmul(*operands, unit=f"{made.chip} {made.name}")


def _scaled_judge(made: ScaledInstruction, m: int, k: int, n: int) -> Run:
    a, b, left, right = (x.to_numpy() for x in _scaled(made, m, k, n))
    c = np.zeros((m, n), np.float32)
    return lambda: mmasim.scaled_judge(a, b, left, right, c, made)
