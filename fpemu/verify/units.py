"""Matrix units against judges: the exact reference, and MMA-Sim where it is installed.

Operands are random codes of six kinds, because units differ where ordinary numbers do not go: any bit
patterns, finite ones, exponents in a narrow range (so that much is cut off), tiny values, half of them
zero, and a few infinities and NaNs among ordinary ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.exact import matrix_units as reference
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, every_instruction
from fpemu.matrix_units.run import multiply
from fpemu.verify.outcome import Outcome

KINDS = ("any", "finite", "narrow", "tiny", "zeros", "specials")
_SIDE = 20  # a case is a product of matrices with so many rows and columns


def random_codes(rng: np.random.Generator, f: Format, shape, kind: str) -> np.ndarray:
    """Codes of `f`, spread as `kind` says."""
    codes = rng.integers(0, 1 << f.bits, shape, dtype=np.uint64)
    sign = (codes >> np.uint64(f.bits - 1)) << np.uint64(f.bits - 1)
    if kind == "any":
        return codes
    one = f._bias << f.fraction_bits
    few = 4 << f.fraction_bits
    low, high = {
        "finite": (0, f.max_code),
        "tiny": (0, min(few, f.max_code)),
    }.get(kind, (max(one - few, 1), min(one + few, f.max_code)))
    codes = sign | rng.integers(low, high, shape, dtype=np.uint64, endpoint=True)
    if kind == "zeros":
        codes = np.where(rng.random(shape) < 0.5, sign if f.has_negative_zero else 0, codes)
    if kind == "specials" and f.has_nan:
        odd = [f.nan_code] + ([f.inf_code, f.inf_code | 1 << (f.bits - 1)] if f.has_inf else [0])  # type: ignore[operator]
        chosen = rng.choice(np.array(odd, np.uint64), shape)
        codes = np.where(rng.random(shape) < 0.02, chosen, codes)
    return codes.astype(np.uint64)


def cases(
    instruction: Instruction, count: int, seed: int = 0, steps: int = 1, side: int = _SIDE
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """At least `count` sums of products for the instruction, in matrices of carriers: the kind of
    case, a, b and c, K being `steps` instructions."""
    rng = np.random.default_rng(seed)
    k = instruction.multiple * steps
    for number in range(max(len(KINDS), -(-count // side**2))):
        kind = KINDS[number % len(KINDS)]
        formats = (instruction.a, instruction.b, instruction.accumulator)
        shapes = ((side, k), (k, side), (side, side))
        a, b, c = (
            decode(random_codes(rng, f, shape, kind).astype(code_dtype(f)), f)
            for f, shape in zip(formats, shapes, strict=True)
        )
        if number // len(KINDS) % 2:
            c = np.zeros_like(c)
        yield kind, a, b, c


Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, Instruction], np.ndarray]


def by_exact(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Instruction) -> np.ndarray:
    """The product of matrices by the exact reference."""
    out = np.empty_like(c)
    rows, columns = a.tolist(), b.T.tolist()
    for i, j in np.ndindex(out.shape):
        out[i, j] = reference.matrix_unit(rows[i], columns[j], c[i, j].item(), instruction)
    return out


def compare(
    instruction: Instruction,
    judge: Judge,
    name: str,
    count: int,
    *,
    judged: Judge | None = None,
    steps: int = 2,
    seed: int = 0,
    side: int = _SIDE,
) -> Outcome:
    """The kernel (or `judged`) against a judge on at least `count` sums; see `cases`."""
    mine = judged or (lambda a, b, c, unit: multiply(a, b, unit, c))
    outcome = Outcome(
        f"{instruction.a.name} x {instruction.b.name}", "matrix unit", str(instruction), name
    )
    for kind, a, b, c in cases(instruction, count, seed, steps, side):
        with np.errstate(all="ignore"):
            got, want = mine(a, b, c, instruction), judge(a, b, c, instruction)
        flat = [np.asarray(v).reshape(-1) for v in (got, want)]
        known = outcome.first_wrong
        operands, over = (np.arange(got.size),), ~np.isfinite(flat[1])
        outcome.tally(operands, flat[0], flat[1], np.ones(got.size, bool), over)
        if outcome.first_wrong != known:
            outcome.first_wrong = f"{kind}: element {outcome.first_wrong}"
    return outcome


def against_exact(count: int = 600) -> Iterator[Outcome]:
    """Every instruction's kernel against the exact reference."""
    for instruction in every_instruction():
        yield compare(instruction, by_exact, "exact", count, side=5)
