"""Why a step gives what it gives: each of its rules is taken out, and the step computed again."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

from fpemu import exact
from fpemu.accumulation import Accumulator
from fpemu.exact import accumulation as sums
from fpemu.explaining.matrix_steps import amd, nvidia
from fpemu.explaining.matrix_steps.operands import Operands, once
from fpemu.explaining.matrix_steps.sums import Rules, Told
from fpemu.formats import FP32, FP64, Format
from fpemu.reals import Real, is_finite, written

# What tells a step of each arithmetic, and its rules, those that cut off least first.
_TRUNCATING = ("floor", "fraction", "zero", "cut")
TELLERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "truncating": (nvidia.truncating, _TRUNCATING),
    "software": (nvidia.software, ("floor", "cut", "between")),
    "scaled": (nvidia.scaled, _TRUNCATING),
    "scaled_groups": (nvidia.groups, _TRUNCATING),
    "fma": (amd.fma, ("between",)),
    "exact": (amd.once, ()),
    "flushed": (amd.flushed, ("flush", "between")),
    "two_grids": (amd.two_grids, ("down", "cut")),
    "two_grids_even_odd": (amd.two_grids_even_odd, ("drop", "down", "cut")),
}
_WITHOUT = {
    "floor": "an alignment without a floor",
    "zero": "a rounding to nearest instead of toward zero",
    "between": "no rounding before the last",
    "flush": "subnormals that are kept",
    "down": "nothing rounded down on the way",
    "drop": "c not left out",
}


def told(given: Operands, off: Rules = frozenset()) -> Told:
    """The step, without the rules in `off`."""
    if given.special is not None:
        return Told((), given.reference())
    return TELLERS[given.unit.arithmetic][0](given, off)


def reasons(given: Operands) -> list[str]:
    """Sentences that say what makes the result another one than the exact sum rounded once, an FP32 loop's,
    or a sum to which c is added at last. Each was tried."""
    if given.special is not None:
        return ["NaN or infinities among the operands decide before any sum"]
    result, right, (loop, parted) = told(given).result, once(given), ordinary(given)
    f = given.unit.accumulator
    said = []
    if result == right:
        said.append("the result is the exact sum rounded once")
    else:
        rules = _fewest(given, right)
        said.append(
            f"the exact sum rounded once is {written(right)}; with {_without(given, right, rules)} it would be that"
        )
    name = loop_format(given).name.upper()
    if loop == result:
        said.append(f"a loop in {name} ends there, too")
    elif loop == right:
        said.append(f"a loop in {name} reaches that one")
    elif parted is not None and f in (FP32, FP64):
        k, exactly, total = parted
        said.append(
            f"a loop in {name} gives {written(loop)}, for it rounds after every product, first at p{k}: "
            f"{_about(exactly)} becomes {written(total)}"
        )
    after = _afterwards(given)
    if after is not None and after != result:
        said.append(
            f"c takes part in the sum; added to the products' result afterwards, it would give {written(after)}"
        )
    return said


def _about(x: Any) -> str:
    near = float(x) if abs(x) < 2**1000 else x
    return ("" if near == x else "about ") + written(near)


def _fewest(given: Operands, right: Real) -> tuple[str, ...]:
    """The fewest rules without which the step gives the exact sum rounded once."""
    rules = TELLERS[given.unit.arithmetic][1]
    for count in range(1, len(rules) + 1):
        for some in combinations(rules, count):
            if told(given, frozenset(some)).result == right:
                return some
    raise AssertionError(f"{given} does not owe its result to {rules}")


def _without(given: Operands, right: Real, rules: tuple[str, ...]) -> str:
    words = []
    for rule in rules:
        if rule == "fraction":
            f = given.unit.accumulator
            words.append(
                f"{f.fraction_bits} bits of fraction, not {given.unit.output.fraction_bits}"
            )
        elif rule == "cut":
            words.append(f"the bits that {_whose(given, right, rules)} lost")
        else:
            words.append(_WITHOUT[rule])
    return " and ".join(words)


def _whose(given: Operands, right: Real, rules: tuple[str, ...]) -> str:
    """The addend whose bits alone make the difference, or all that lost some."""
    labels = [p.label for s in told(given).sums for p in s.cut if not p.down and not p.left_out]
    others = frozenset(rules) - {"cut"}
    for label in labels:
        if told(given, others | {f"cut {label}"}).result == right:
            return label
    return listed(labels)


def listed(names: list[str], most: int = 6) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"]), listed(list("abcdefgh"))
    ('a, b and c', 'a, b, c, d, e, f and 2 more')
    """
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def loop_format(given: Operands) -> Format:
    """The format of the loop that a step is compared with."""
    return FP64 if given.unit.accumulator == FP64 else FP32


def ordinary(given: Operands) -> tuple[Real, tuple[int, Any, Real] | None]:
    """What a loop of fused multiply-adds gives, and the first that is rounded: its index, the exact value
    and what it becomes."""
    f = loop_format(given)
    model = Accumulator(
        f, product="exact", rounding="nearest_even", saturation="none", subnormals="gradual"
    )
    formats = (given.unit.a, given.unit.b)
    pairs = given.pairs[: given.count]
    if given.scales:
        return _scaled_loop(given, f), None
    terms = [tuple(zip(pair, formats, strict=True)) for pair in pairs]
    seen: list[sums.Step] = []
    total = sums.accumulate(terms, model, (given.c, f), observe=seen.append)
    for k, step in enumerate(seen):
        if is_finite(step.value) and step.value != step.result:
            return total, (k, step.value, step.result)
    return total, None


def _scaled_loop(given: Operands, f: Format) -> Real:
    """A loop over products with their scales, each exact, the sums rounded."""
    total: Any = given.c
    for k, (x, y) in enumerate(given.pairs[: given.count]):
        product: Any = exact.exact_result("multiply", x, y)[0]
        for scale in given.scales[k // given.unit.block]:
            product = exact.exact_result("multiply", product, scale)[0]
        total = exact.round_to(exact.exact_result("add", total, product)[0], f)
    return total


def _afterwards(given: Operands) -> Real | None:
    """The result if c is kept out of the sum and added to it by an ordinary addition; None where c is zero
    or comes last anyway."""
    if given.c == 0 or given.unit.arithmetic not in ("truncating", "scaled", "scaled_groups"):
        return None
    alone: Any = told(replace(given, c=0.0)).result
    return exact.round_to(exact.exact_result("add", alone, given.c)[0], given.unit.accumulator)
