"""`History`: what a training run did, to be read, printed, plotted and kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from fpemu import events
from fpemu.errors import ArgumentError
from fpemu.files import write_text
from fpemu.policy import Policy
from fpemu.text import html_table, table
from fpemu.training import states
from fpemu.training.curves import svg

COLUMNS = ("epoch", "train_loss", "test_loss", "test_accuracy", "seconds")


@dataclass
class History:
    """What a training run did: one row per finished epoch, and all counted events.

    `rows` hold epoch, train_loss (mean over the epoch's batches, as it went), test_loss and
    test_accuracy (after the epoch; None where targets are numbers), seconds, and with a schedule the
    last learning rate as lr. `losses` has the loss of every step, that of an unfinished epoch, too;
    `trace` counts the finished ones only. `first_nonfinite` names the first step and parameter whose
    gradient held an infinity or NaN. `interrupted` is true after Ctrl-C; `stopped` says why a callback
    stopped the run, or is None.

    >>> history = History(Policy(), rows=[{"epoch": 1, "train_loss": 0.5, "test_accuracy": 0.75}])
    >>> print(history)
    epoch  train_loss  test_accuracy
    -----  ----------  -------------
        1         0.5           0.75
    >>> History.from_json(history.to_json()).rows == history.rows
    True
    """

    policy: Policy
    rows: list[dict[str, Any]] = field(default_factory=list)
    trace: events.Trace = field(default_factory=events.Trace)
    first_nonfinite: dict[str, Any] | None = None
    steps: int = 0
    interrupted: bool = False
    stopped: str | None = None
    losses: list[float] = field(default_factory=list)

    @property
    def final(self) -> dict[str, Any]:
        """The last row; raises `ArgumentError` if no epoch was finished."""
        if not self.rows:
            raise ArgumentError("no epoch was finished")
        return self.rows[-1]

    # -- text -----------------------------------------------------------------------------

    def to_csv(self, path: str | PathLike[str] | None = None) -> str:
        """The rows as CSV with a header; also written, whole, to `path` if that is given.

        Numbers have all their digits; what there is not is empty.
        """
        out = io.StringIO()
        writer = csv.DictWriter(out, self._columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return _kept(out.getvalue(), path)

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Everything as standard JSON ("nan" and "inf" are strings); also written to `path`, whole."""
        return _kept(states.json_text(self.to_dict()), path)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; the policy as its text, the trace as rows."""
        return {
            "policy": str(self.policy),
            "rows": self.rows,
            "first_nonfinite": self.first_nonfinite,
            "steps": self.steps,
            "interrupted": self.interrupted,
            "stopped": self.stopped,
            "losses": self.losses,
            "trace": rows_of(self.trace),
        }

    @classmethod
    def from_json(cls, source: str | PathLike[str]) -> History:
        """The history that `to_json` wrote: its text, or the path of a file with it.

        Raises `ArgumentError` for anything else.
        """
        said = str(source)
        try:
            text = said if said.lstrip().startswith("{") else Path(source).read_text()
            return cls.from_dict(json.loads(text))
        except OSError as error:
            raise ArgumentError(f"cannot read {said!r}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArgumentError(f"this is no history that fpemu wrote: {error!r}") from None

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(
            Policy.parse(kept["policy"]),
            [{k: states.number(v) for k, v in row.items()} for row in kept["rows"]],
            trace_of(kept["trace"]),
            kept["first_nonfinite"],
            kept["steps"],
            kept["interrupted"],
            kept["stopped"],
            [states.number(x) for x in kept["losses"]],
        )

    def __str__(self) -> str:
        return table(*self._cells())

    def _repr_html_(self) -> str:
        return svg({str(self.policy): self}) + html_table(*self._cells())

    def _columns(self) -> list[str]:
        found = dict.fromkeys(key for row in self.rows for key in row)
        return list(found) or list(COLUMNS)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        header = self._columns()
        return header, [[_cell(row.get(name)) for name in header] for row in self.rows]

    # -- pictures -------------------------------------------------------------------------

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Loss and accuracy by epoch as a matplotlib figure; also written, whole, to `path` (``.png``,
        ``.svg``, ``.pdf``). Needs matplotlib, else `MissingExtraError`; see `plots.plot` for several."""
        from fpemu.training.plots import plot

        return plot({str(self.policy): self}, path)


def rows_of(trace: events.Trace) -> list[dict[str, Any]]:
    """The counters of `trace`, in order, without those that are 0; see `trace_of`."""
    return [
        {k: v for k, v in row.items() if v or k in ("place", "op", "format")}
        for row in trace.to_dicts()
    ]


def trace_of(rows: list[dict[str, Any]]) -> events.Trace:
    """The trace of which `rows_of` made rows."""
    trace = events.Trace()
    for row in rows:
        counts = {event: row[event] for event in events.EVENTS if event in row}
        extremes = {k: row.get(k) for k in ("first_overflow", "bits_cancelled")}
        trace.add((row["place"], row["op"], row["format"]), counts, extremes=extremes)
    return trace


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _kept(text: str, path: str | PathLike[str] | None) -> str:
    if path is not None:
        write_text(path, text)
    return text
