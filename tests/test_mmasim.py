"""Matrix units against MMA-Sim, an independent simulator; only where the package mmasim is installed.

``fpemu verify --units --exhaustive`` does the same on 10,000 sums for every instruction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fpemu as fp
from fpemu.carriers import code_dtype
from fpemu.convert import codes_of, decode
from fpemu.matrix_units import matrix_unit
from fpemu.matrix_units.scaled import multiply_scaled, scaled_instruction
from fpemu.verify import mmasim, units

pytest.importorskip("mmasim")


@pytest.mark.parametrize("made", [made for made, _ in units.distinct()], ids=str)
def test_every_distinct_instruction(made):
    found = mmasim.compare(made, 400)
    assert (found.wrong, found.first_wrong) == (0, "")


SCALED = [
    ("e4m3", "e5m2", "e8m0", 32),
    ("e2m3", "e3m2", "e8m0", 32),
    ("e2m1", "e4m3", "e8m0", 32),
    ("e2m1", "e2m1", "e8m0", 32),
    ("e2m1", "e2m1", "e8m0", 16),
    ("e2m1", "e2m1", "e4m3", 16),
]


@pytest.mark.parametrize("case", SCALED, ids=str)
def test_block_scaled_instructions(case):
    a_format, b_format, scale, block = case
    made = scaled_instruction(
        matrix_unit("b200", "tcgen05"), a_format, b_format, scale=scale, block=block
    )
    rng, side, k = np.random.default_rng(0), 20, made.length
    for kind in ("any", "finite", "narrow", "tiny", "zeros", "specials"):
        a, b, c = (
            decode(units.random_codes(rng, f, shape, kind).astype(code_dtype(f)), f)
            for f, shape in ((made.a, (side, k)), (made.b, (k, side)), (fp.FP32, (side, side)))
        )
        low, high = (0, 256) if kind == "any" else (120, 134)
        if made.scale == fp.E4M3:
            low, high = 0, 128 if kind == "any" else 127
        left, right = (
            decode(rng.integers(low, high, shape).astype(np.uint8), made.scale)
            for shape in ((side, k // block), (k // block, side))
        )
        got = multiply_scaled(a, b, left, right, made, c)
        want = simulated(made, case, a, b, left, right, c)
        np.testing.assert_array_equal(got, want)
        zero = want == 0
        assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


def simulated(made, case, a, b, left, right, c) -> Any:
    import torch
    from mmasim.nv_ptx.sim import TCGen05MMABlockScale

    fp4 = made.length == 64
    kind, scale = "mxf4nvf4" if fp4 else "mxf8f6f4", f"u{case[2]}"
    name = f"m128n8k{made.length}.kind::{kind}.block{made.block}.f32.{case[0]}.{case[1]}.{scale}"
    rows, columns = np.divmod(np.arange(c.size), c.shape[1])

    def operand(values, f):
        if not fp4:
            return mmasim.tensor(values, f)
        codes = codes_of(np.ascontiguousarray(values), f)
        return torch.from_numpy(codes[:, ::2] | codes[:, 1::2] << np.uint8(4))  # two in a byte

    def scales(values):
        codes = torch.from_numpy(codes_of(np.ascontiguousarray(values), made.scale))
        return codes.view(torch.float8_e8m0fnu if scale == "ue8m0" else torch.float8_e4m3fn)

    total = TCGen05MMABlockScale("Blackwell", name).dpa(
        operand(a[rows], made.a),
        operand(b.T[columns], made.b),
        torch.from_numpy(c.reshape(-1).copy()),
        scales(left[rows]),
        scales(right.T[columns]),
    )
    return total.numpy().reshape(c.shape)
