"""Block-scaled products of Blackwell against the exact reference, and cases done by hand."""

from __future__ import annotations

import dataclasses

import drawn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fpemu as fp
from fpemu.exact.scaled_units import scaled_unit
from fpemu.matrix_units import matrix_unit
from fpemu.matrix_units.scaled import multiply_scaled, scaled_instruction
from fpemu.verify import integer_steps, scaled_units, units


@pytest.mark.parametrize("made", list(scaled_units.every_scaled()), ids=scaled_units.label_of)
def test_against_the_exact_reference(made):
    for found in scaled_units.by_references(made, False)[:2]:
        assert (found.wrong, found.first_wrong) == (0, "")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_on_drawn_codes(data):
    made = data.draw(st.sampled_from(list(scaled_units.every_scaled())))
    blocks = data.draw(st.integers(0, 2 * made.length // made.block + 1))
    k = blocks * made.block
    a, b = drawn.values(data, made.a, (1, k)), drawn.values(data, made.b, (k, 1))
    left, right = (
        np.abs(drawn.values(data, made.scale, shape)) for shape in ((1, blocks), (blocks, 1))
    )
    c = drawn.values(data, fp.FP32, (1, 1))
    lists = [v.tolist() for v in (a[0], b[:, 0], left[0], right[:, 0])]
    want = scaled_unit(*lists, c.item(), made)
    with np.errstate(all="ignore"):
        for run in (scaled_units.by_kernel, integer_steps.scaled_by_integers):
            got = run(a, b, left, right, c, made)[0, 0]
            assert drawn.same(got, want), (str(made), a, b, left, right, c, want)


@pytest.mark.parametrize("change", [{"bits": 24}, {"floor": -130}, {"block": 64}], ids=str)
def test_a_planted_bug_in_a_number_is_caught(change):
    right = scaled_instruction(matrix_unit("b200", "tcgen05"), "e4m3")
    wrong = dataclasses.replace(right, **change)

    def planted(a, b, left, scales, c, _):
        every = slice(None, None, wrong.block // right.block)
        return multiply_scaled(a, b, left[:, every], scales[every], wrong, c)

    options = {"judged": planted, "cases": scaled_units.cases, "steps": 2}
    assert units.compare(right, integer_steps.scaled_by_integers, "", 1, **options).wrong > 0


def test_by_hand():
    """Scale exponents join before the alignment: what would be cut off is kept, and the other way round."""
    ones, small = np.ones((1, 32)), np.full((1, 32), 2.0**-6)
    a = fp.array(np.concatenate([ones, small], 1), "e4m3")
    b = fp.array(np.concatenate([ones, ones], 1).T, "e4m3")
    left, right = fp.array([[2.0**10, 2.0**-12]], "e8m0"), fp.array([[1.0], [1.0]], "e8m0")
    assert fp.scaled_matmul(a, b, left, right).tolist() == [
        [2.0**15]
    ]  # 2^-13 is below 2^-10, FP32's place
    left = fp.array([[2.0**-12, 2.0**-6]], "e8m0")
    assert fp.scaled_matmul(a, b, left, right).tolist() == [[2.0**-7 + 2.0**-7]]
    assert np.isnan(fp.scaled_matmul(a, b, fp.array([[np.nan, 1]], "e8m0"), right).item())


def test_nvfp4_groups_keep_35_bits():
    """Two groups that cancel leave what only more than FP32's bits could keep."""
    a = fp.array([[4.0, *[0.0] * 15, 4.0, *[0.0] * 15, 1.0, *[0.0] * 31]], "e2m1")
    b = fp.array([[4.0, *[0.0] * 15, -4.0, *[0.0] * 15, 1.0, *[0.0] * 31]], "e2m1").T
    left = fp.array([[256.0, 256.0, 2.0**-6, 1.0]], "e4m3")
    right = fp.array([[256.0, 256.0, 2.0**-6, 1.0]], "e4m3").T
    assert fp.scaled_matmul(a, b, left, right).tolist() == [[2.0**-12]]


def test_what_there_is_not():
    x = fp.array(np.ones((2, 64)), "e4m3")
    one = fp.array(np.ones((2, 2)), "e8m0")
    with pytest.raises(fp.UnsupportedError, match="takes no blocks of 16"):
        fp.scaled_matmul(
            x, x.T, fp.array(np.ones((2, 4)), "e8m0"), fp.array(np.ones((4, 2)), "e8m0")
        )
    with pytest.raises(fp.UnsupportedError, match="takes no scales"):
        fp.scaled_matmul(x, x.T, one, one, unit="h100 wgmma")
    with pytest.raises(fp.ArgumentError, match="share a format"):
        fp.scaled_matmul(x, x.T, one, one.astype("e4m3"))
    with pytest.raises(fp.ArgumentError, match="take scales of shapes"):
        fp.scaled_matmul(x, x.T, one, fp.array(np.ones((1, 2)), "e8m0"))
