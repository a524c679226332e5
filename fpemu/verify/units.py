"""Matrix units against judges: the exact reference, its steps on arrays of integers for many sums, and
MMA-Sim where it is installed.

Operands are random codes of seven kinds, because units differ where ordinary numbers do not go: any bit
patterns, finite ones, exponents in a narrow range (so that much is cut off), tiny values, a few powers of
two whose products lie around the smallest result (so that the floor of the alignment decides), half of
them zero, and a few infinities and NaNs among ordinary ones. Accumulators are of the operands' kind in
the first seven cases, then zero, then of other kinds; sums chain one, two or three instructions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fpemu.carriers import carrier_dtype, code_dtype
from fpemu.convert import decode
from fpemu.exact import matrix_units as reference
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, every_instruction, matrix_unit
from fpemu.matrix_units.run import multiply
from fpemu.verify import integer_steps
from fpemu.verify.outcome import Outcome

KINDS = ("any", "finite", "narrow", "tiny", "floor", "zeros", "specials")
CHAINS = (2, 1, 3)  # instructions of a sum
_SIDE = 20  # a case is a product of matrices with so many rows and columns

# Sums for each instruction: briefly, and with --exhaustive.
BY_EXACT, BY_INTEGERS, BY_MMASIM, ALIKE = (100, 2_800), (2_800, 100_000), (1_000, 100_000), 10_000

# What a library does beside: chip, instruction, operands, promote, split.
LOOPS = (
    ("h100", "wgmma", "e4m3", 128, 1),
    ("ada", "mma", "e5m2", 64, 1),
    ("h100", "wgmma", "fp16", 0, 3),
    ("a100", "mma", "bf16", 0, 2),
    ("b200", "tcgen05", "e2m1", 128, 2),
)
Case = tuple[str, tuple[np.ndarray, ...]]


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


def values(rng: np.random.Generator, f: Format, shape, kind: str) -> np.ndarray:
    """Values of `f` in their carrier, spread as `kind` says."""
    return decode(random_codes(rng, f, shape, kind).astype(code_dtype(f)), f)


def cases(
    instruction: Instruction,
    count: int,
    seed: int = 0,
    steps: int | tuple[int, ...] = CHAINS,
    side: int = _SIDE,
) -> Iterator[Case]:
    """At least `count` sums of products for the instruction, in matrices of carriers: the kind of
    case, and a, b and c, K being `steps` instructions, of several in turn."""
    rng = np.random.default_rng(seed)
    chains = (steps,) if isinstance(steps, int) else steps
    for number in range(max(len(KINDS), -(-count // side**2))):
        k = instruction.multiple * chains[number % len(chains)]
        kind = KINDS[number % len(KINDS)]
        shapes = ((side, k), (k, side), (side, side))
        if kind == "floor":
            a, b = _around_the_floor(rng, instruction, shapes)
        else:
            a = values(rng, instruction.a, shapes[0], kind)
            b = values(rng, instruction.b, shapes[1], kind)
        yield kind, (a, b, accumulators(rng, instruction, shapes[2], number))


def accumulators(rng: np.random.Generator, made: Instruction, shape, number: int) -> np.ndarray:
    """c in the case of that `number`."""
    turn = number // len(KINDS)
    kind = KINDS[(number + turn) % len(KINDS)]
    if turn % 3 == 1 or kind == "floor":
        return np.zeros(shape, carrier_dtype(made.accumulator))
    return values(rng, made.accumulator, shape, kind)


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


Judge = Callable[..., np.ndarray]  # of the matrices of a case, and the instruction


def by_exact(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Instruction) -> np.ndarray:
    """The product of matrices by the exact reference."""
    out = np.empty_like(c)
    rows, columns = a.tolist(), b.T.tolist()
    for i, j in np.ndindex(out.shape):
        out[i, j] = reference.matrix_unit(rows[i], columns[j], c[i, j].item(), instruction)
    return out


def by_kernel(a: np.ndarray, b: np.ndarray, c: np.ndarray, instruction: Instruction) -> np.ndarray:
    """The product of matrices by the kernels, which are to be judged."""
    return multiply(a, b, instruction, c)


def compare(
    instruction: Instruction,
    judge: Judge,
    name: str,
    count: int,
    *,
    judged: Judge = by_kernel,
    cases: Callable[..., Iterator[Case]] = cases,
    **options: Any,
) -> Outcome:
    """The kernel (or `judged`) against a judge on at least `count` sums; for `options` see `cases`."""
    outcome = Outcome(instruction.a.name, "matrix unit", str(instruction), name)
    for kind, matrices in cases(instruction, count, **options):
        with np.errstate(all="ignore"):
            got, want = judged(*matrices, instruction), judge(*matrices, instruction)
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


def loops_of_libraries() -> Iterator[tuple[Instruction, str, int]]:
    """Instructions with `promote` and `split`: each with its label and as many instructions of K that
    both have something to do."""
    for chip, name, f, promote, split in LOOPS:
        unit = matrix_unit(chip, name, promote=promote, split=split)
        made = unit.on(f)
        grain = 128 if made.a.bits <= 8 else 64
        depth = max(2 * promote + promote // 2, grain * (split - 1) + grain // 2)
        yield made, f"{unit} on {f}", depth // made.multiple


def checks(exhaustive: bool = False) -> list[tuple[str, Callable[[], list[Outcome]]]]:
    """Every distinct instruction against the exact reference and its steps on integers, and where
    MMA-Sim is installed every instruction against it; block-scaled ones, too."""
    from fpemu.verify import mmasim, scaled_units

    planned: list[tuple[str, Callable[[], list[Outcome]]]] = []
    for made, count in distinct():
        label = f"{made} and {count - 1} alike" if count > 1 else str(made)
        planned.append((label, partial(by_references, made, label, exhaustive)))
    for made, label, steps in loops_of_libraries():
        check = partial(by_references, made, label, exhaustive, steps=steps)
        planned.append((label, check))
    planned += scaled_units.checks(exhaustive)
    if mmasim.is_installed():
        first = {made for made, _ in distinct()}
        for made in every_instruction():
            most = BY_MMASIM[1] if made in first else ALIKE
            check = partial(_by_mmasim, made, most if exhaustive else BY_MMASIM[0])
            planned.append((f"{made}, MMA-Sim", check))
    return planned


def by_references(
    made: Instruction,
    label: str,
    exhaustive: bool,
    *,
    judge: Judge = by_exact,
    judged: Judge = by_kernel,
    integers: Judge | None = None,
    **options: Any,
) -> list[Outcome]:
    """The kernel against the exact reference and, on more sums, against the steps on integers; and these
    against the exact reference on the sums that it took. Where they do not know the instruction, the
    reference takes all sums."""
    if integers is None and integer_steps.judges(made):
        integers = integer_steps.by_integers
    few = (BY_EXACT if integers else (BY_EXACT[0], BY_INTEGERS[1]))[exhaustive]
    small: dict[str, Any] = {"side": 10 if exhaustive else 5}  # more cases of every kind
    wanted: list[np.ndarray] = []

    def remembered(*case: Any) -> np.ndarray:
        wanted.append(judge(*case))
        return wanted[-1]

    found = [compare(made, remembered, "exact", few, judged=judged, **small, **options)]
    if integers:
        again = iter(wanted)

        def replayed(*_: Any) -> np.ndarray:
            return next(again)

        found.append(compare(made, replayed, "exact", few, judged=integers, **small, **options))
        found[-1].op = "steps on integers"
        many = BY_INTEGERS[exhaustive]
        found.append(compare(made, integers, "integers", many, judged=judged, **options))
    for outcome in found:
        outcome.setting = label
    return found


def _by_mmasim(made: Instruction, count: int) -> list[Outcome]:
    from fpemu.verify import mmasim

    return [mmasim.compare(made, count)]
