"""One role in one pass: ``activations.weight_grad=e5m2``, ``accumulate.backward='h100 wgmma'``.

=============  ====================================================================================
pass           what is computed in it
=============  ====================================================================================
forward        results
input_grad     gradients of inputs (of both operands, where an operation multiplies two inputs)
weight_grad    gradients of weights
bias_grad      gradients of biases
backward       all three, where nothing is said of the one
=============  ====================================================================================

Formats of `weights`, `activations` and `gradients` are those in which the pass's product reads them. An
operand that a pass reads is the one that was rounded for the forward product (a gradient: for the whole
backward pass), unless something is said of the pass: then it is rounded anew, from what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fpemu.errors import ArgumentError, unknown
from fpemu.policy.values import SUMS, ends_in, model_of, value_of

BACKWARD = ("input_grad", "weight_grad", "bias_grad")
ALL = ("forward", "backward", *BACKWARD)
# Which passes there are for a role: no product for the weight gradient reads weights, and so on.
PASSES: dict[str, tuple[str, ...]] = {
    "weights": ("forward", "backward", "input_grad"),
    "activations": ("forward", "backward", "input_grad", "weight_grad"),
    "gradients": ("input_grad", "weight_grad"),
    "accumulate": ALL,
    "inner": ("forward", "backward"),
    "outputs": ALL,
}
KEYS = tuple(f"{role}.{which}" for role, passes in PASSES.items() for which in passes)

# The first part of a place's name inside an operation: to the passes that cover it, the narrowest first.
_COVERED_BY = {
    "forward": ("forward",),
    "backward": ("backward",),
    "input_grad": ("input_grad", "backward"),
    "left_grad": ("input_grad", "backward"),
    "right_grad": ("input_grad", "backward"),
    "weight_grad": ("weight_grad", "backward"),
    "bias_grad": ("bias_grad", "backward"),
}

Passes = tuple[tuple[str, Any], ...]


def settled(given: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Passes:
    """Pairs of a key such as "accumulate.weight_grad" and a value, checked and in the order of `KEYS`.

    >>> settled({"weights.input_grad": "bf16", "accumulate.forward": "fp16 kahan"})[0]
    ('weights.input_grad', fp.BF16)
    """
    pairs = dict(given)
    made = {check(key): value_of(key.partition(".")[0], value) for key, value in pairs.items()}
    missing = [key for key, value in made.items() if value is None]
    if missing:
        raise ArgumentError(f"{missing[0]}=none says nothing; leave it out, or name a format")
    return tuple((key, made[key]) for key in KEYS if key in made)


def check(key: str) -> str:
    """`key` itself, or the error for one that does not exist."""
    role, _, which = key.partition(".")
    if key in KEYS:
        return key
    if role not in PASSES:
        raise unknown("role of a pass", role, PASSES)
    if role == "gradients" and which in ("forward", "backward"):
        raise ArgumentError(
            f"{key}: gradients are read in the backward pass only; write gradients=, or name "
            "gradients.input_grad or gradients.weight_grad"
        )
    raise unknown(f"pass of {role}", which, PASSES[role])


def find(passes: Passes, role: str, where: str) -> tuple[str, Any] | None:
    """The key that decides for `role` at `where` inside an operation, and its value; None if none does.

    >>> find(settled({"accumulate.backward": "bf16"}), "accumulate", "weight_grad/accumulate")
    ('accumulate.backward', fp.BF16)
    """
    if not passes:
        return None
    said = dict(passes)
    for which in _COVERED_BY.get(where.partition("/")[0], ()):
        key = f"{role}.{which}"
        if key in said:
            return key, said[key]
    return None


def table(passes: Passes) -> dict[tuple[str, str], dict[str, Any]]:
    """What passes change, as fields of a `Cast`, by role and the first part of a place inside."""
    made = {}
    for role in PASSES:
        for first in _COVERED_BY:
            found = find(passes, role, first)
            if found and role in SUMS:
                made[role, first] = {"format": ends_in(found[1]), "model": model_of(found[1])}
            elif found:
                made[role, first] = {"format": found[1]}
    return made
