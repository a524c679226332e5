"""Which checks there are, and running them, on several processes if wanted."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from functools import partial

from fpemu import exact
from fpemu.accumulation import ORDERS
from fpemu.formats import Format
from fpemu.rounding import ROUNDING, SATURATION
from fpemu.verify import conversions, operations, sums
from fpemu.verify.outcome import Outcome

MODES = tuple(mode for mode in ROUNDING if mode != "stochastic")
PAIRS = ("add", "subtract", "multiply", "divide")
OPERATIONS = ("decode", "encode", "convert", *exact.OPERANDS, "sum")
Check = Callable[[], list[Outcome]]


def checks(
    formats: list[Format], chosen: list[str], *, exhaustive: bool = False
) -> list[tuple[str, Check]]:
    """The checks to run for `formats` and the `chosen` operations, each with a label."""
    return [
        check
        for f in formats
        for op in chosen
        for check in (
            _conversion_checks(f, op, exhaustive)
            if op in ("decode", "encode", "convert")
            else _sum_checks(f, exhaustive)
            if op == "sum"
            else _operation_checks(f, op, exhaustive)
        )
    ]


def _conversion_checks(f: Format, op: str, exhaustive: bool) -> Iterator[tuple[str, Check]]:
    if op != "convert":
        if f.bits <= 19:
            yield f"{f.name} {op}", partial(conversions.every_code, f, op)
        return
    modes = MODES if f.bits <= 8 or exhaustive else MODES[:1]
    yield f"{f.name} convert", partial(conversions.between_values, f, modes, exhaustive)
    if not exhaustive:
        return
    if conversions.has_peer(f):
        label = f"{f.name} convert every float32"
        yield label, partial(conversions.every_float32_by_a_peer, f)
    for mode in ROUNDING if f.name in conversions.TUNED else ():
        label = f"{f.name} convert every float32 {mode}"
        yield label, partial(conversions.every_float32_by_the_float64_kernel, f, mode)


def _operation_checks(f: Format, op: str, exhaustive: bool) -> Iterator[tuple[str, Check]]:
    """In every mode and saturation if `exhaustive` and the space is small."""
    if not f.has_nan:
        return  # 0/0 is an error there; see the tests
    pairs = exhaustive and f.bits <= 8 and (op in PAIRS or op == "sqrt")
    functions = exhaustive and f.bits <= 16 and exact.OPERANDS[op] == 1
    settings = list(
        itertools.product(
            MODES if pairs or functions else MODES[:1], SATURATION if pairs else ("none",)
        )
    )
    yield f"{f.name} {op}", partial(operations.against_exact, f, op, settings, exhaustive)


def _sum_checks(f: Format, exhaustive: bool) -> Iterator[tuple[str, Check]]:
    if f.signed and f.has_zero and f.has_nan:
        for kind in ORDERS:
            yield f"{f.name} sum {kind}", partial(sums.by_models, f, kind, exhaustive)


def run(planned: list[tuple[str, Check]], jobs: int) -> Iterator[tuple[str, list[Outcome]]]:
    """The outcomes of all checks in their order, computed by so many processes."""
    if jobs == 1:
        for label, check in planned:
            yield label, check()
        return
    # Not forked: a fork of a process with threads may hang. Interrupts are the parent's business.
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        found = pool.imap(_outcomes, [check for _, check in planned])
        yield from zip((label for label, _ in planned), found, strict=True)


def _outcomes(check: Check) -> list[Outcome]:
    return check()
