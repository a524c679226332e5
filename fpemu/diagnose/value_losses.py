"""Per layer and role: how many values a run lost to zero, to subnormals, to overflow, to swamping."""

from __future__ import annotations

from dataclasses import dataclass

from fpemu.events import Trace

ROLES = ("weights", "activations", "gradients", "accumulate", "update", "loss")


@dataclass(frozen=True)
class ValueLosses:
    """Counts for one layer and role. Shares are of the nonzero values.

    `absorbed` counts nonzero addends that left the other operand unchanged: for role
    "accumulate" products that vanished in a partial sum, out of all products and partial sums;
    for role "update" weights that a nonzero update left as they were, out of `updates`.
    """

    layer: str
    role: str
    nonzero: int
    to_zero: int
    subnormal: int
    overflow: int
    absorbed: int
    updates: int


def value_losses(trace: Trace) -> list[ValueLosses]:
    """The losses that `trace` counted in a training run, by layer in order, then by role.

    Values that reach a role already in its format are counted where they are handed on: they
    may be subnormal there, but what was lost was lost in the accumulator that made them.
    """
    rows = trace.to_dicts()
    layers = dict.fromkeys(str(row["place"]).partition("/")[0] for row in rows)
    result = []
    for layer in layers:
        for role in ROLES:
            ops = (role, "absorbed", "init") if role == "update" else (role,)
            mine = [
                row
                for row in rows
                if str(row["place"]).partition("/")[0] == layer and row["op"] in ops
            ]
            if not mine:
                continue

            def total(event: str, op: str, mine: list = mine) -> int:
                return sum(row[event] for row in mine if row["op"] == op)

            absorbing = "absorbed" if role == "update" else role
            result.append(
                ValueLosses(
                    layer=layer,
                    role=role,
                    nonzero=total("nonzero", role),
                    to_zero=total("flushed_to_zero", role),
                    subnormal=total("subnormal", role),
                    overflow=total("overflow", role),
                    absorbed=total("swamped", absorbing),
                    updates=total("nonzero", "absorbed"),
                )
            )
    return result
