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
cancelled        are sums of two numbers of which two or more leading bits cancelled, or all
escaped          left for plain NumPy (`numpy.asarray`), which rounds as it likes
===============  ==============================================================================
"""

from __future__ import annotations

import contextlib
import contextvars
import fnmatch
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from fpemu import exact
from fpemu.errors import unknown
from fpemu.reals import Real, is_finite, size_of, written
from fpemu.text import html_table, table

EVENTS = (
    *("values", "nonzero", "inexact", "underflow", "flushed_to_zero", "subnormal", "overflow"),
    *("invalid", "divide_by_zero", "saturated", "swamped"),
    *("cancelled", "escaped"),
)
Key = tuple[str, str, str]  # place, operation, format

_open_traces: contextvars.ContextVar[tuple[Trace, ...]] = contextvars.ContextVar(
    "fpemu_traces", default=()
)


class trace:
    """Count events while the ``with`` block runs: ``with fp.trace() as t: ...``.

    Parameters
    ----------
    ranges : whether to keep the smallest nonzero and the largest finite magnitude of the results.
    exponents : whether to count the results by their binary exponent.

    Traces nest; each sees everything that happens inside its own block. The object that the
    block receives is a `Trace` and stays readable afterwards.

    >>> import fpemu as fp
    >>> with fp.trace() as t:
    ...     _ = fp.quantize([1e-9, 3e-6, 1.0, 1e6], fp.FP16)
    >>> t.count("flushed_to_zero"), t.count("subnormal"), t.count("overflow")
    (1, 1, 1)
    """

    def __init__(self, *, ranges: bool = False, exponents: bool = False) -> None:
        self._options = (ranges, exponents)
        self._blocks: list[contextlib.AbstractContextManager[None]] = []  # it may be entered again

    def __enter__(self) -> Trace:
        opened = Trace(*self._options)
        self._blocks.append(collect(opened))
        self._blocks[-1].__enter__()
        return opened

    def __exit__(self, *exception: object) -> None:
        self._blocks.pop().__exit__(None, None, None)


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


@dataclass
class Magnitudes:
    """How large the results at one place were: `smallest` is not zero, `largest` is finite, both
    None before there is such a value; `exponents` counts binary exponents (1.5 has 0)."""

    smallest: Real | None = None
    largest: Real | None = None
    exponents: Counter[int] = field(default_factory=Counter)

    def add(self, values: np.ndarray, exponents: bool) -> None:
        """Take the finite nonzero ones of `values` into account."""
        if values.dtype == object:  # a format beyond float64
            listed = [size_of(v) for v in values.flat if is_finite(v) and v != 0]
            if listed:
                self._widen(min(listed), max(listed))
            if exponents:
                self.exponents.update(exact.floor_log2(Fraction(v)) for v in listed)
            return
        magnitudes = np.abs(values.astype(np.float64))
        magnitudes = magnitudes[(magnitudes > 0) & (magnitudes < np.inf)]
        if magnitudes.size:
            self._widen(float(magnitudes.min()), float(magnitudes.max()))
            if exponents:
                found, counts = np.unique(np.frexp(magnitudes)[1] - 1, return_counts=True)
                self.exponents.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def merge(self, other: Magnitudes) -> None:
        """Take what `other` has seen into account."""
        if other.smallest is not None and other.largest is not None:
            self._widen(other.smallest, other.largest)
        self.exponents.update(other.exponents)

    def _widen(self, smallest: Real, largest: Real) -> None:
        self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
        self.largest = largest if self.largest is None else max(self.largest, largest)


class Trace:
    """Counters by place, operation and format; see `trace`."""

    def __init__(self, ranges: bool = False, exponents: bool = False) -> None:
        self.ranges, self.exponents = ranges, exponents
        self._counters: dict[Key, Counter[str]] = {}
        self._magnitudes: dict[Key, Magnitudes] = {}
        self._first_overflow: dict[Key, int] = {}
        self._bits_cancelled: dict[Key, int] = {}

    def add(
        self,
        key: Key,
        counts: Mapping[str, int],
        results: np.ndarray | None = None,
        extremes: Mapping[str, int | None] | None = None,
    ) -> None:
        """Add `counts` to the counters of a place, operation and format, and note how large the
        `results` are if that is wanted. `extremes` are those of `first_overflow` and `bits_cancelled`."""
        self._counters.setdefault(key, Counter()).update(counts)
        found = extremes or {}
        step, bits = found.get("first_overflow"), found.get("bits_cancelled")
        if step is not None:
            self._first_overflow[key] = min(step, self._first_overflow.get(key, step))
        if bits:
            self._bits_cancelled[key] = max(bits, self._bits_cancelled.get(key, 0))
        if results is not None and (self.ranges or self.exponents):
            self._magnitudes.setdefault(key, Magnitudes()).add(results, self.exponents)

    def merge(self, other: Trace) -> None:
        """Add all counters of `other`."""
        for key, counts in other._counters.items():
            extremes = {
                "first_overflow": other._first_overflow.get(key),
                "bits_cancelled": other._bits_cancelled.get(key),
            }
            self.add(key, counts, extremes=extremes)
        for key, magnitudes in other._magnitudes.items():
            self._magnitudes.setdefault(key, Magnitudes()).merge(magnitudes)

    def count(
        self,
        event: str,
        place: str | None = None,
        op: str | None = None,
        format: str | None = None,
    ) -> int:
        """How often `event` happened, at places that match the pattern `place` (``*``, ``?``).

        Raises `ArgumentError` for an unknown event.
        """
        if event not in EVENTS:
            raise unknown("event", event, EVENTS)
        return sum(
            counts[event]
            for key, counts in self._counters.items()
            if _matches(key, place, op, format)
        )

    def first_overflow(
        self, place: str | None = None, op: str | None = None, format: str | None = None
    ) -> int | None:
        """The earliest term with which a sum, or a product in it, overflowed; the first is number 1.
        None if none did, or only where the sums of blocks or shares were added, or where no kernel knows
        the formats and modes (more than 31 random bits, FP64 but to nearest even) and steps are done
        one by one: these are counted, but not numbered.

        >>> import fpemu as fp
        >>> with fp.trace() as t:
        ...     _ = fp.sum(np.float16([60000, 5000, 5000]))
        >>> t.first_overflow()
        3
        """
        found = [n for key, n in self._first_overflow.items() if _matches(key, place, op, format)]
        return min(found, default=None)

    def bits_cancelled(
        self, place: str | None = None, op: str | None = None, format: str | None = None
    ) -> int:
        """The most leading bits that cancelled in a step of a sum that did not become zero; 0 if there
        was no cancellation, or no kernel (see `first_overflow`).

        >>> import fpemu as fp
        >>> with fp.trace() as t:
        ...     _ = fp.sum(np.float16([1024, -1023]))
        >>> t.count("cancelled"), t.bits_cancelled()
        (1, 10)
        """
        found = [n for key, n in self._bits_cancelled.items() if _matches(key, place, op, format)]
        return max(found, default=0)

    def magnitudes(
        self, place: str | None = None, op: str | None = None, format: str | None = None
    ) -> Magnitudes:
        """How large the results were; all None and empty unless the trace was asked for that.

        >>> import fpemu as fp
        >>> with fp.trace(exponents=True) as t:
        ...     _ = fp.quantize([0.0, 0.75, 3.0, 1e6], fp.FP16)
        >>> t.magnitudes()
        Magnitudes(smallest=0.75, largest=3.0, exponents=Counter({-1: 1, 1: 1}))
        """
        together = Magnitudes()
        for key, magnitudes in self._magnitudes.items():
            if _matches(key, place, op, format):
                together.merge(magnitudes)
        return together

    def to_dicts(self) -> list[dict[str, object]]:
        """One row per place, operation and format, in the order of first appearance; with the
        ranges and exponents if the trace was asked for them."""
        rows = []
        for key, counts in self._counters.items():
            place, op, f = key
            row: dict[str, object] = {"place": place, "op": op, "format": f}
            row.update((event, counts[event]) for event in EVENTS)
            row["first_overflow"] = self._first_overflow.get(key)
            row["bits_cancelled"] = self._bits_cancelled.get(key, 0)
            seen = self._magnitudes.get(key, Magnitudes())
            if self.ranges:
                row.update(smallest=seen.smallest, largest=seen.largest)
            if self.exponents:
                row["exponents"] = dict(sorted(seen.exponents.items()))
            rows.append(row)
        return rows

    def to_json(self) -> str:
        """The rows of `to_dicts` as JSON."""
        return json.dumps(self.to_dicts(), default=written)  # beyond float64: as "2**5000"

    def table(self) -> str:
        """The counters as aligned text, one row per place, operation and format."""
        return table(*self._cells())

    def _repr_html_(self) -> str:
        return html_table(*self._cells())

    def __str__(self) -> str:
        return self.table()

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        header = ["place", "op", "format", *EVENTS]
        if self.ranges:
            header += ["smallest", "largest"]
        rows = self.to_dicts()
        return header, [["-" if row[k] is None else f"{row[k]}" for k in header] for row in rows]


def _matches(key: Key, place: str | None, op: str | None, f: str | None) -> bool:
    where, what, of = key
    at = place is None or fnmatch.fnmatchcase(where, place)
    return at and op in (None, what) and f in (None, of)


def active() -> bool:
    """Whether any trace is open in this thread or task."""
    return bool(_open_traces.get())


def record(
    place: str,
    op: str,
    f: str,
    counts: Mapping[str, int],
    results: np.ndarray | None = None,
    extremes: Mapping[str, int | None] | None = None,
) -> None:
    """Hand `counts`, of results in the format named `f`, to every open trace."""
    for opened in _open_traces.get():
        opened.add((place or _place.get(), op, f), counts, results, extremes)


_place: contextvars.ContextVar[str] = contextvars.ContextVar("fpemu_counted_at", default="")


@contextlib.contextmanager
def at(place: str) -> Iterator[None]:
    """What happens inside the block and names no place of its own is counted at `place`.

    >>> import fpemu as fp
    >>> with fp.trace() as t, at("layers.1/forward"):
    ...     _ = fp.sum(np.float16([2048, 1]))
    >>> t.count("swamped", place="layers.1/*")
    1
    """
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("fpemu_inside", default=False)


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """Arrays that are read in this block stay with fpemu."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def record_escape(f: str, size: int) -> None:
    """Count `size` values of the format named `f` that leave for plain NumPy."""
    if _open_traces.get() and not _inside.get():
        record("", "asarray", f, {"escaped": size})
