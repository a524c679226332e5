"""Matrix units against judges: the exact reference, and MMA-Sim where it is installed.

Operands are random codes of seven kinds, because units differ where ordinary numbers do not go: any bit
patterns, finite ones, exponents in a narrow range (so that much is cut off), tiny values, a few powers of
two whose products lie around the smallest result (so that the floor of the alignment decides), half of
them zero, and a few infinities and NaNs among ordinary ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fpemu.carriers import carrier_dtype, code_dtype
from fpemu.convert import decode
from fpemu.exact import matrix_units as reference
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, every_instruction
from fpemu.matrix_units.run import multiply
from fpemu.verify.outcome import Outcome

KINDS = ("any", "finite", "narrow", "tiny", "floor", "zeros", "specials")
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
        if kind == "floor":
            a, b = _around_the_floor(rng, instruction, shapes)
            c = np.zeros(shapes[2], carrier_dtype(instruction.accumulator))
        else:
            a, b, c = (
                decode(random_codes(rng, f, shape, kind).astype(code_dtype(f)), f)
                for f, shape in zip(formats, shapes, strict=True)
            )
        if number // len(KINDS) % 2:
            c = np.zeros_like(c)
        yield kind, a, b, c


def _around_the_floor(
    rng: np.random.Generator, instruction: Instruction, shapes
) -> list[np.ndarray]:
    """Powers of two of both signs, about three products of each sum not zero and those from far below
    the smallest result to a little above it."""
    output = instruction.output
    target = output.emin - output.fraction_bits - 10
    made, density = [], (3 / shapes[0][1]) ** 0.5
    for f, shape in zip((instruction.a, instruction.b), shapes[:2], strict=True):
        least, most = f.emin - f.fraction_bits, f.emax - 1
        middle = min(max(target // 2, least), most)
        target = 2 * (target - middle)
        exponents = np.clip(rng.integers(middle - 8, middle + 8, shape, endpoint=True), least, most)
        signs = rng.choice([-1.0, 1.0], shape) * (rng.random(shape) < density)
        made.append((np.ldexp(1.0, exponents) * signs + 0.0).astype(carrier_dtype(f)))
    return made


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
    outcome = Outcome(instruction.a.name, "matrix unit", str(instruction), name)
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


def distinct() -> list[tuple[Instruction, int]]:
    """The instructions that differ in more than their names, and how many each stands for."""
    alike: dict[Instruction, list[Instruction]] = {}
    for made in every_instruction():
        numbers = dataclasses.replace(made, chip="", name="", shape="", evidence="")
        alike.setdefault(numbers, []).append(made)
    return [(some[0], len(some)) for some in alike.values()]


def checks(exhaustive: bool = False) -> list[tuple[str, Callable[[], list[Outcome]]]]:
    """Every distinct instruction against the exact reference, and where MMA-Sim is installed every
    instruction against it on 1000 sums (exhaustive: 10,000)."""
    from fpemu.verify import mmasim

    planned: list[tuple[str, Callable[[], list[Outcome]]]] = []
    for made, count in distinct():
        alike = f"{made} and {count - 1} alike" if count > 1 else str(made)
        planned.append((alike, partial(_by_exact, made, alike, 700 if exhaustive else 100)))
    if mmasim.is_installed():
        for made in every_instruction():
            planned.append((f"{made}, MMA-Sim", partial(_by_mmasim, made, exhaustive)))
    return planned


def _by_exact(made: Instruction, label: str, count: int) -> list[Outcome]:
    outcome = compare(made, by_exact, "exact", count, side=5)
    outcome.setting = label
    return [outcome]


def _by_mmasim(made: Instruction, exhaustive: bool) -> list[Outcome]:
    from fpemu.verify import mmasim

    return [mmasim.compare(made, 10_000 if exhaustive else 1000)]
