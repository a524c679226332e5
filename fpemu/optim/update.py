"""Update rules: from a stored weight and a step the new weight, and what is kept beside it.

=============  ====================================================================================
plain          weight - step, rounded to the storage format
stochastic     the same, rounded at random: up or down with the chances that make the mean right
kahan          what the rounding of the weight lost is kept in a `compensation` of the weight's
               format, and added to the next step (Zamirai et al. 2020, "Revisiting BFloat16
               training"; order of operations as the package optimi has it)
remainder      the weight is BF16, and the 16 bits by which it falls short of an FP32 number are
               kept as its `remainder`: together they are exactly an FP32 master weight
=============  ====================================================================================

FP32 master weights need no rule of their own: under a policy with `master` the layer itself stores the
weight in that format, every use casts it to the format `weights`, and the update is a plain one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fpemu.arrays import Array
from fpemu.convert import decode
from fpemu.errors import ArgumentError
from fpemu.formats import BF16, FP32, Format
from fpemu.optim.steps import Step, Steps

State = dict[str, Any]


def plain(steps: Steps, weight: Array, step: Step, state: State) -> Array:
    """weight - step at "result"; where that is not the storage format, rounded to it at "store"."""
    new = steps.minus(weight, step, where="result", role="result")
    return steps.stored(new, "stored", where="store")


def stochastic(steps: Steps, weight: Array, step: Step, state: State) -> Array:
    """As `plain`, the last of its roundings at random."""
    at_once = steps.format_at("result", "result") == steps.site.roles["stored"]
    rounding = "stochastic" if at_once else ""
    new = steps.minus(weight, step, where="result", role="result", rounding=rounding)
    return steps.stored(new, "stored", where="store", rounding="stochastic")


def kahan(steps: Steps, weight: Array, step: Step, state: State) -> Array:
    """compensation -= step; new = weight + compensation; compensation += weight - new."""
    compensation = state.get("compensation")
    if compensation is None:
        compensation = steps.zeros(weight.shape, role="stored")
    compensation = steps.minus(compensation, step, where="compensation", role="result")
    new = steps("add", weight, compensation, where="result", role="result")
    new = steps.stored(new, "stored", where="store")
    lost = steps("subtract", weight, new, where="lost", role="result")
    compensation = steps("add", compensation, lost, where="correction", role="result")
    steps.keep(state, "compensation", compensation, "stored")
    return new


def remainder(steps: Steps, weight: Array, step: Step, state: State) -> Array:
    """As `plain` on the FP32 number that the weight and its remainder make up."""
    master = steps.minus(weight, step, where="result", role="result")
    new, state["remainder"] = split(master)
    return new


RULES = {"plain": plain, "kahan": kahan, "stochastic": stochastic, "remainder": remainder}


def storage_of(rule: str, weight: Array, update_in: Format | None) -> Format:
    """The format of the number that the rule updates: the weight's, or FP32 with its remainder."""
    if rule != "remainder":
        return weight.format
    if weight.format != BF16:
        raise ArgumentError(
            "update=remainder keeps the 16 bits that a BF16 weight lacks, but this weight is stored in "
            f"{weight.format.name}; use weights=bf16 master=none"
        )
    if update_in not in (None, FP32):
        raise ArgumentError(f"update=remainder is computed in FP32, not update_in={update_in}")
    return FP32


def stored_number(rule: str, weight: Array, state: State) -> Array:
    """The number that the rule updates."""
    if rule != "remainder":
        return weight
    low = state.get("remainder")
    return join(weight, np.zeros(weight.shape, np.uint16) if low is None else low)


def split(master: Array) -> tuple[Array, np.ndarray]:
    """FP32 numbers as BF16 weights and the last 16 bits of their codes, as uint16.

    The weight is the nearest BF16 number, of two the one farther from zero: then the 16 bits tell whether
    it was rounded up, which after ties to even they could not. NaN and infinities stay what they are.

    >>> import fpemu as fp
    >>> weight, low = split(fp.array([1.0, 1.00390625, -1.001], "fp32"))
    >>> weight.tolist(), [hex(v) for v in low]
    ([1.0, 1.0078125, -1.0], ['0x0', '0x8000', '0x20c5'])
    """
    codes = master.codes
    low = (codes & 0xFFFF).astype(np.uint16)
    high = (codes >> 16) + (low >> 15)
    return Array(decode(high, BF16), BF16), low


def join(weight: Array, low: np.ndarray) -> Array:
    """The FP32 numbers that `split` took apart.

    >>> import fpemu as fp
    >>> join(*split(fp.array([0.1, -3e38], "fp32"))) == fp.array([0.1, -3e38], "fp32")
    array([ True,  True])
    """
    wide = low.astype(np.uint32)
    codes = ((weight.codes.astype(np.uint32) - (wide >> 15)) << 16) | wide
    return Array(decode(codes, FP32), FP32)
