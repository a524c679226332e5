"""Block-scaled instructions against the same judges as in `units`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fpemu.convert import decode
from fpemu.exact.scaled_units import scaled_unit
from fpemu.formats import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP32, Format
from fpemu.matrix_units import matrix_unit
from fpemu.matrix_units.scaled import ScaledInstruction, multiply_scaled, scaled_instruction
from fpemu.verify import integer_steps, units
from fpemu.verify.outcome import Outcome

_OPERANDS = (E4M3, E5M2, E2M3, E3M2, E2M1)


def every_scaled() -> Iterator[ScaledInstruction]:
    """The block-scaled instructions of b200's tcgen05; rtx50's mma has the same numbers."""
    unit = matrix_unit("b200", "tcgen05")
    for a in _OPERANDS:
        for b in _OPERANDS:
            yield scaled_instruction(unit, a, b)
    for scale in (E8M0, E4M3):
        yield scaled_instruction(unit, E2M1, scale=scale, block=16)


def label_of(made: ScaledInstruction) -> str:
    """The instruction in words.

    >>> [label_of(made) for made in every_scaled()][-1]
    'b200 tcgen05 mMnNk64 e2m1 -> fp32, e4m3 every 16'
    """
    return f"{made}, {made.scale.name} every {made.block}"


def cases(
    made: ScaledInstruction,
    count: int,
    seed: int = 0,
    steps: int | tuple[int, ...] = units.CHAINS,
    side: int = 20,
) -> Iterator[units.Case]:
    """As `units.cases`: a, b, their scales, and c. Every other K lacks a block of the last instruction;
    with one chain given as `steps`, none does."""
    rng = np.random.default_rng(seed)
    chains = (steps,) if isinstance(steps, int) else steps
    kinds = len(units.KINDS)
    for number in range(max(kinds, -(-count // side**2))):
        kind, turn = units.KINDS[number % kinds], number // kinds
        blocks = made.length * chains[number % len(chains)] // made.block
        blocks -= len(chains) > 1 and turn % 2 == 1 and blocks > 1
        k = blocks * made.block
        a, b = (
            units.values(rng, f, shape, kind)
            for f, shape in ((made.a, (side, k)), (made.b, (k, side)))
        )
        left, right = (
            scales(rng, made.scale, shape, kind) for shape in ((side, blocks), (blocks, side))
        )
        c = np.zeros((side, side), np.float32)
        if turn % 3 != 1 and kind != "floor":
            c = units.values(rng, FP32, c.shape, units.KINDS[(number + turn) % kinds])
        yield kind, (a, b, left, right, c)


def scales(rng: np.random.Generator, f: Format, shape, kind: str) -> np.ndarray:
    """Scales of any size and NaN; for most kinds such that do not differ too much; for "floor" those
    whose products lie around FP32's smallest numbers."""
    anything = kind in ("any", "specials")
    low, high = (0, 256) if anything else (46, 58) if kind == "floor" else (120, 134)
    if f == E4M3:  # none negative: the hardware's are unsigned
        low, high = (0, 128) if anything else (0, 127)
    return decode(rng.integers(low, high, shape).astype(np.uint8), f)


def by_exact(a, b, left, right, c: np.ndarray, made: ScaledInstruction) -> np.ndarray:
    """The product of matrices by the exact reference."""
    out = np.empty_like(c)
    rows, columns = zip(a.tolist(), left.tolist(), strict=True), b.T.tolist()
    for i, (row, row_scales) in enumerate(rows):
        for j, (column, column_scales) in enumerate(zip(columns, right.T.tolist(), strict=True)):
            lists = row, column, row_scales, column_scales
            out[i, j] = scaled_unit(*lists, c[i, j].item(), made)
    return out


def by_kernel(a, b, left, right, c: np.ndarray, made: ScaledInstruction) -> np.ndarray:
    """The product of matrices by the kernels, which are to be judged."""
    return multiply_scaled(a, b, left, right, made, c)


def checks(exhaustive: bool = False) -> list[tuple[str, Callable[[], list[Outcome]]]]:
    """Every block-scaled instruction against the exact reference and its steps on integers, and where
    MMA-Sim is installed against that."""
    from fpemu.verify import mmasim

    planned: list[tuple[str, Callable[[], list[Outcome]]]] = []
    for made in every_scaled():
        label = label_of(made)
        planned.append((label, partial(by_references, made, exhaustive)))
        if mmasim.is_installed():
            count = units.BY_MMASIM[exhaustive]
            planned.append((f"{label}, MMA-Sim", partial(_by_mmasim, made, count)))
    return planned


def by_references(made: ScaledInstruction, exhaustive: bool) -> list[Outcome]:
    """As `units.by_references`."""
    return units.by_references(
        *(made, label_of(made), exhaustive),
        judge=by_exact,
        judged=by_kernel,
        integers=integer_steps.scaled_by_integers,
        cases=cases,
    )


def _by_mmasim(made: ScaledInstruction, count: int) -> list[Outcome]:
    from fpemu.verify import mmasim

    outcome = units.compare(
        *(made, mmasim.scaled_judge, "MMA-Sim", count), judged=by_kernel, cases=cases, steps=1
    )
    outcome.setting = label_of(made)
    return [outcome]
