"""What happened to the values: counters by place and operation, collected while a trace is open.

Watching never changes a bit: a trace only reads what went into a rounding and what came out.
With no trace open, nothing is counted and nothing is computed for counting.

===============  ==============================================================================
event            counts the values that
===============  ==============================================================================
values           were rounded (all of them; the denominator of a share)
nonzero          were not zero before they were rounded
inexact          changed when they were rounded
underflow        changed, and were tiny: below the smallest normal when rounded with an
                 unbounded exponent (IEEE 754, tininess after rounding)
flushed_to_zero  were not zero and came out as zero
subnormal        came out subnormal
overflow         were finite and rounded beyond the largest value
invalid          have no result but NaN (0/0, sqrt(-1), infinity where the format has none)
divide_by_zero   are exact infinities of finite operands (1/0, log 0)
saturated        ... and were replaced by the largest value, because the saturation rule says so
swamped          were not zero, and left the number that they were added to unchanged
===============  ==============================================================================
"""

from __future__ import annotations

import contextlib
import contextvars
import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping

from fpemu.errors import unknown

EVENTS = (
    *("values", "nonzero", "inexact", "underflow", "flushed_to_zero"),
    *("subnormal", "overflow", "invalid", "divide_by_zero", "saturated", "swamped"),
)

_open_traces: contextvars.ContextVar[tuple[Trace, ...]] = contextvars.ContextVar(
    "fpemu_traces", default=()
)


class trace:
    """Count events while the ``with`` block runs: ``with fp.trace() as t: ...``.

    Traces nest; each sees everything that happens inside its own block. The object that the
    block receives is a `Trace` and stays readable afterwards.

    >>> import fpemu as fp
    >>> with fp.trace() as t:
    ...     _ = fp.quantize([1e-9, 3e-6, 1.0, 1e6], fp.FP16)
    >>> t.count("flushed_to_zero"), t.count("subnormal"), t.count("overflow")
    (1, 1, 1)
    """

    def __enter__(self) -> Trace:
        opened = Trace()
        self._block = collect(opened)
        self._block.__enter__()
        return opened

    def __exit__(self, *exception: object) -> None:
        self._block.__exit__(None, None, None)


@contextlib.contextmanager
def collect(into: Trace) -> Iterator[None]:
    """Count events into an existing `Trace` while the block runs."""
    token = _open_traces.set((*_open_traces.get(), into))
    try:
        yield
    finally:
        _open_traces.reset(token)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Count nothing while the block runs."""
    token = _open_traces.set(())
    try:
        yield
    finally:
        _open_traces.reset(token)


class Trace:
    """Counters by place and operation; see `trace`."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counter[str]] = {}

    def add(self, place: str, op: str, counts: Mapping[str, int]) -> None:
        """Add `counts` to the counters of `op` at `place`."""
        self._counters.setdefault((place, op), Counter()).update(counts)

    def merge(self, other: Trace) -> None:
        """Add all counters of `other`."""
        for (place, op), counts in other._counters.items():
            self.add(place, op, counts)

    def count(self, event: str, place: str | None = None, op: str | None = None) -> int:
        """How often `event` happened, at places that match the pattern `place` (``*``, ``?``)."""
        if event not in EVENTS:
            raise unknown("event", event, EVENTS)
        return sum(counts[event] for _, _, counts in self._matching(place, op))

    def to_dicts(self) -> list[dict[str, object]]:
        """One row per place and operation, in the order of first appearance."""
        return [
            {"place": place, "op": op, **{event: counts[event] for event in EVENTS}}
            for place, op, counts in self._matching(None, None)
        ]

    def table(self) -> str:
        """The counters as aligned text, one row per place and operation."""
        from fpemu.text import table

        rows = [[str(cell) for cell in row.values()] for row in self.to_dicts()]
        return table(["place", "op", *EVENTS], rows)

    def _matching(
        self, place: str | None, op: str | None
    ) -> Iterator[tuple[str, str, Counter[str]]]:
        for (where, what), counts in self._counters.items():
            if (place is None or fnmatch.fnmatchcase(where, place)) and op in (None, what):
                yield where, what, counts


def active() -> bool:
    """Whether any trace is open in this thread or task."""
    return bool(_open_traces.get())


def record(place: str, op: str, counts: Mapping[str, int]) -> None:
    """Hand `counts` to every open trace."""
    for opened in _open_traces.get():
        opened.add(place, op, counts)
