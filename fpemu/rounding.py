"""The vocabulary of an arithmetic: rounding, saturation and subnormal handling.

Each setting is a plain string, so that it prints, compares and survives text. The tables hold
one line of definition each; `exact` is their meaning in code. With u the exact value and a
format whose neighbours of u are lo <= u <= hi:
"""

from __future__ import annotations

from fpemu.errors import unknown

ROUNDING = {
    "nearest_even": "the nearer of lo and hi; a tie goes to the one whose code is even",
    "nearest_away": "the nearer of lo and hi; a tie goes to the one of larger magnitude",
    "toward_zero": "the one of smaller magnitude",
    "toward_positive": "hi",
    "toward_negative": "lo",
    "to_odd": "u itself if it is a number of the format, else the one whose code is odd",
    "stochastic": "hi with probability (u - lo) / (hi - lo), else lo",
}
SATURATION = {
    "none": "overflow by the format's own rule: infinity, else NaN, else the largest value",
    "finite": "overflow and infinities become the largest finite value (OFP8 SAT, CUDA satfinite)",
    "propagate": "overflow becomes the largest finite value, infinities stay (IEEE P3109)",
}
SUBNORMALS = {
    "gradual": "subnormal operands and results are kept (IEEE 754)",
    "ftz": "a result still subnormal after rounding becomes 0 of its sign",
    "daz": "subnormal operands are read as 0 of their sign",
    "ftz+daz": "both",
}


def check(*, rounding: str, saturation: str, subnormals: str) -> None:
    """Raise `ArgumentError` unless all three settings are in the vocabulary.

    >>> check(rounding="nearest", saturation="none", subnormals="gradual")
    Traceback (most recent call last):
    ...
    fpemu.errors.ArgumentError: unknown rounding 'nearest'; did you mean 'nearest_even'? allowed: \
nearest_even, nearest_away, toward_zero, toward_positive, toward_negative, to_odd, stochastic
    """
    for kind, value, table in (
        ("rounding", rounding, ROUNDING),
        ("saturation", saturation, SATURATION),
        ("subnormals", subnormals, SUBNORMALS),
    ):
        if not isinstance(value, str) or value not in table:
            raise unknown(kind, value, table)
