"""The IEEE exceptions of whole arrays, computed only when somebody asks.

`exact.flags` is their meaning, on one number; here the same comes from the values before and
after rounding, and from rounding once more to a format with an unbounded exponent. The value
before rounding must be exact, or a float64 whose last bit is odd because the exact one lies
beside it ("to odd"): every comparison that matters is of fewer bits.
"""

from __future__ import annotations

import enum

import numpy as np

from fpemu import exact
from fpemu.chance import Chance
from fpemu.errors import unknown
from fpemu.formats import Format

Seen = dict[str, np.ndarray]


class Flag(enum.IntFlag):
    """The five exceptions as bits, in the order of RISC-V and SoftFloat.

    >>> Flag(5)
    <Flag.INEXACT|OVERFLOW: 5>
    """

    INEXACT = 1
    UNDERFLOW = 2
    OVERFLOW = 4
    DIVIDE_BY_ZERO = 8
    INVALID = 16


def check_tininess(tininess: str) -> None:
    """Raise `ArgumentError` unless `tininess` is "after" or "before"."""
    if tininess not in exact.TININESS:
        raise unknown("tininess", tininess, exact.TININESS)


def of_rounding(
    before: np.ndarray,
    after: np.ndarray,
    over: np.ndarray,
    tiny: np.ndarray,
    already_inexact: np.ndarray | None = None,
    below: np.ndarray | None = None,
) -> Seen:
    """Boolean arrays "inexact", "underflow", "overflow" and "invalid" for rounding `before` to `after`.

    `over` and `tiny` say where `before` is beyond the largest value and below the smallest normal;
    `already_inexact` marks elements of it that differ from the exact value, `below` those that
    round below all numbers of a format without a sign, which is no overflow.
    """
    finite = np.isfinite(before) & (before != 0)
    if below is not None:
        finite &= ~below
    overflow = finite & over
    changed = (before != after) | overflow
    if already_inexact is not None:
        changed |= already_inexact
    nan = np.isnan(before)  # which signals nothing, whatever it became
    inexact = changed & (finite | ~np.isnan(after)) & ~nan
    return {
        "inexact": inexact,
        "underflow": inexact & finite & tiny,
        "overflow": overflow,
        "invalid": ~finite & np.isnan(after) & ~nan,
    }


def by_reference(
    before: np.ndarray, f: Format, chance: Chance | None, *, tininess: str = "after", **settings
) -> Seen:
    """The same, element by element, for any numbers and formats."""
    names = ("inexact", "underflow", "overflow", "invalid")
    seen: Seen = {name: np.zeros(before.shape, bool) for name in names}
    for i, x in enumerate(before.flat):
        number = float(x) if isinstance(x, np.floating) else x
        away = chance.away(i) if chance and settings["rounding"] == "stochastic" else None
        for name in exact.flags_of_rounding(number, f, tininess=tininess, away=away, **settings):
            seen[name].flat[i] = True
    return seen


def as_bits(seen: Seen) -> np.ndarray:
    """The flags of each element as a uint8 of `Flag` bits."""
    bits = np.zeros(next(iter(seen.values())).shape, np.uint8)
    for name, mask in seen.items():
        bits |= np.where(mask, np.uint8(Flag[name.upper()]), np.uint8(0))
    return bits


def number(mask: np.ndarray) -> int:
    """How many are true."""
    return int(np.count_nonzero(mask))
