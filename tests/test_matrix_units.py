"""Matrix units against the published probes of `fpemu.verify.probes`: the exact reference and the kernels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import fpemu as fp
from fpemu.exact import matrix_units as exact
from fpemu.matrix_units import multiply
from fpemu.matrix_units.table import GENERATIONS
from fpemu.verify.probes import CHIPS, probes


def written(value: float, made) -> str:
    if np.isnan(value):
        return "nan"
    return f"{int(fp.encode(value, made.accumulator)):0{made.accumulator.bits // 4}x}"


@pytest.mark.parametrize("chip", GENERATIONS)
def test_probes(chip):
    own = [probe for probe in probes() if probe.instruction.chip == chip]
    assert own
    for probe in own:
        a, b, c, made = probe.a, probe.b, probe.c, probe.instruction
        by_hand = exact.matrix_unit(a[0].tolist(), b[:, 0].tolist(), c[0, 0].item(), made)
        by_kernel = float(multiply(a, b, made, c)[0, 0])
        found = [written(value, made) for value in (by_hand, by_kernel)]
        assert found == [probe.wanted] * 2, (str(made), probe.name)


def test_probes_are_all_there():
    """None of the tables is read as shorter than it is."""
    units = Counter((p.instruction.chip, p.instruction.name) for p in probes())
    assert min(units["v100", "mma"], units["a100", "mma"], units["h100", "mma"]) > 40
    assert units["h100", "wgmma"] > 50 < units["b200", "tcgen05"]
    assert len(probes()) > 850
    assert sum(probe.wanted == "nan" for probe in probes()) > 50


def test_registers_of_tf32_lose_their_last_bits():
    for word, kept in ((0x3F801FFF, 0x3F800000), (0x3FFFFFFF, 0x3FFFE000), (0x00001FFF, 0)):
        x = np.array([word], np.uint32).view(np.float32)
        read = fp.quantize(x, "tf32", rounding="toward_zero")
        assert read.view(np.uint32)[0] == kept


def test_no_two_generations_answer_alike():
    """The one sum differs among NVIDIA's generations in FP16, but not between Ampere and Ada."""
    answers = [CHIPS[unit] for unit in ("v100 mma fp16", "a100 mma fp16", "h100 wgmma fp16")]
    assert len(set(answers)) == 3
