"""Which step of a sum signalled what an `arithmetic` block traps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from fpemu import context, exact
from fpemu.accumulation.model import Accumulator
from fpemu.chance import Chance
from fpemu.exact import accumulation as reference
from fpemu.formats import Format
from fpemu.reals import written

MOST_STEPS = 100_000  # that are looked at, which takes some seconds
_SIGNS = {"add": "+", "subtract": "-", "multiply": "*"}


class _Found(Exception):
    """Ends the search."""


def first_signal(
    terms: Callable[[int, int], Sequence[tuple[tuple[Any, Format], ...]]],
    shape: tuple[int, int],
    model: Accumulator,
    start: Callable[[int, int], tuple[Any, Format] | None],
    trapped: Collection[str],
    *,
    transposed: bool = False,
) -> str:
    """The first step that signals one of `trapped`, in words, by the exact reference: elements of the
    result one after another. `terms` and `start` give what is summed in one of them; `transposed` says that the caller knows them
    by the other order of their indices."""
    names = ("rounding", "saturation", "subnormals")
    settings: dict[str, Any] = {name: getattr(model, name) for name in names}
    chance = Chance(model.seed or 0, model.random_bits or 24)
    tininess = context.current().tininess
    looked_at, said = 0, ""

    for i, j in np.ndindex(shape):
        place = i * shape[1] + j

        def look(step: reference.Step, i: int = i, j: int = j) -> None:
            nonlocal looked_at, said
            looked_at += 1
            seen = {step.signal} if step.signal else set()
            if not seen:
                seen = exact.flags_of_rounding(
                    step.value, step.f, tininess=tininess, away=step.away, **settings
                )
            if seen & set(trapped):
                said = f"{_written(step)} at index {(j, i) if transposed else (i, j)}"
                raise _Found
            if looked_at >= MOST_STEPS:
                raise _Found

        def decide(n: int, place: int = place):
            return chance.derived(n).away(place)

        try:
            reference.accumulate(
                terms(i, j),
                model,
                start(i, j),
                decide=decide if model.rounding == "stochastic" else None,
                element=(place, shape[0] * shape[1]),
                observe=look,
            )
        except _Found:
            break
    return said or f"in a product or partial sum in {model.format.name}"


def _written(step: reference.Step) -> str:
    """A step with the bits of operands and result."""
    shown = [f"{exact.written_bits(x, f)} ({written(x)})" for x, f in step.given]
    sign = f" {_SIGNS[step.op]} " if step.op in _SIGNS else f" {step.op} "
    given = sign.join(shown) if len(shown) == 2 else f"{step.op} of {', '.join(shown)}"
    where = f" in {step.part}" if step.part else ""
    return f"{given}{where} gave {exact.written_bits(step.result, step.f)} ({written(step.result)})"
