"""Matrix units against MMA-Sim, an independent simulator; runs where the extra "mmasim" is installed.

``fpemu verify --units --exhaustive`` does the same on 100,000 sums for every distinct instruction.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cdna_probes import PROBES, orders

from fpemu.matrix_units import matrix_unit, multiply
from fpemu.verify import mmasim, scaled_units, units

pytest.importorskip("mmasim")
pytestmark = pytest.mark.mmasim


@pytest.mark.parametrize("made", [made for made, _ in units.distinct()], ids=str)
def test_every_distinct_instruction(made):
    found = mmasim.compare(made, 400)
    assert (found.wrong, found.first_wrong) == (0, "")


@pytest.mark.parametrize("made", list(scaled_units.every_scaled()), ids=scaled_units.label_of)
def test_block_scaled_instructions(made):
    judges = {"judged": scaled_units.by_kernel, "cases": scaled_units.cases}
    found = units.compare(made, mmasim.scaled_judge, "MMA-Sim", 400, **judges, steps=1)
    assert (found.wrong, found.first_wrong) == (0, "")


@pytest.mark.parametrize("unit", ["a100", "h100", "mi100", "mi300"])
def test_chains_and_what_is_left_over_are_asked(unit):
    """K of two instructions: one product more changes the sum."""
    made = matrix_unit(unit).on("fp16")
    (_, (a, b, c)), *_ = units.cases(made, 1, steps=4)
    a, b, c = np.ones_like(a), np.ones_like(b), np.zeros_like(c)
    assert mmasim.judge(a, b, c, made)[0, 0] == a.shape[1] == multiply(a, b, made)[0, 0]


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_cdna_by_hand(probe):
    *case, want = probe
    for made, a, b, c in orders(*case):
        assert mmasim.judge(a, b, c, made)[0, 0] == want


def test_a_planted_bug_is_caught():
    right = matrix_unit("mi300").on("bf16")
    wrong = dataclasses.replace(right, bits=23)

    def planted(a, b, c, _):
        return multiply(a, b, wrong, c)

    assert units.compare(right, mmasim.judge, "MMA-Sim", 1, judged=planted).wrong > 0
