"""Matrix units by name: what they print as, what they take and refuse, and where they may be used."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fpemu as fp
from fpemu.matrix_units import every_instruction, multiply
from fpemu.matrix_units.table import ROWS, SYNONYMS


@pytest.mark.parametrize(
    "text",
    ["h100 wgmma", "h100 mma accumulator=fp16 shape=m16n8k8", "h200 wgmma promote=128 split=4"],
)
def test_units_print_as_what_makes_them(text):
    unit = fp.MatrixUnit.parse(text)
    assert str(unit) == text
    assert eval(repr(unit)) == unit
    assert pickle.loads(pickle.dumps(unit)) == unit
    assert hash(unit) == hash(fp.MatrixUnit.parse(text))


def test_synonyms_and_defaults():
    for name, chip in SYNONYMS.items():
        assert fp.matrix_unit(name) == fp.matrix_unit(chip)
    assert fp.matrix_unit("H100").instruction == "mma"
    assert fp.matrix_unit("mi300").instruction == "mfma"


def test_every_instruction_is_reached_by_its_name():
    made = list(every_instruction())
    assert len(set(made)) == len(made)
    for one in made:
        unit = fp.matrix_unit(one.chip, one.name, accumulator=one.accumulator, shape=one.shape)
        assert unit.on(one.a, one.b) == one
        assert one.evidence
    assert {row.evidence for row in ROWS if row.chips == ("t4",)} >= {"simulator, machine code"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"chip": "h1000"}, "unknown chip 'h1000'; did you mean 'h100'?"),
        (
            {"chip": "a100", "instruction": "wgmma"},
            "unknown instruction of a100 'wgmma'.*allowed: mma",
        ),
        (
            {"chip": "v100", "accumulator": "bf16"},
            "unknown accumulator of v100 mma 'bf16'.*fp32, fp16",
        ),
        ({"chip": "v100", "shape": "m16n8k8"}, "unknown shape of v100 mma.*allowed: m8n8k4"),
        ({"chip": "v100", "promote": -1}, "promote must be an integer of at least 0"),
        ({"chip": "v100", "split": True}, "split must be an integer of at least 1"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(said, message):
    with pytest.raises(fp.ArgumentError, match=message):
        fp.matrix_unit(**said)


def test_formats_that_a_unit_does_not_take():
    ones = {f: fp.array(np.ones((2, 2)), f) for f in ("fp16", "bf16", "fp32", "e4m3", "e5m2")}
    for f, unit, message in [
        ("bf16", "v100", "v100 mma does not multiply bf16; it takes fp16"),
        ("fp32", "h100 wgmma", "read as TF32.*toward_zero"),
        ("e4m3", "a100", "it takes fp16, bf16, tf32, fp64"),
        ("bf16", "h100 accumulator=fp16", "it takes fp16, e4m3, e5m2"),
    ]:
        with pytest.raises(fp.UnsupportedError, match=message):
            fp.matmul(ones[f], ones[f], accumulate=unit)
    with pytest.raises(fp.UnsupportedError, match="does not multiply fp16 with bf16"):
        fp.matmul(ones["fp16"], ones["bf16"], accumulate="h100")
    mixed = fp.matmul(ones["e4m3"], ones["e5m2"], accumulate="h100 wgmma")
    assert mixed.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    with pytest.raises(fp.ArgumentError, match="leave out order="):
        fp.matmul(ones["fp16"], ones["fp16"], accumulate="h100", order="kahan")
    with pytest.raises(fp.UnsupportedError, match="adds products"):
        fp.sum(ones["fp16"], accumulate=fp.matrix_unit("h100"))
    with pytest.raises(fp.ArgumentError, match="multiple of 32"):
        fp.matrix_unit("h100", "wgmma", promote=100).on("e4m3")
    with pytest.raises(fp.ArgumentError, match="accumulators in fp32"):
        fp.matrix_unit("h100", "mma", split=2).on("e4m3")


def test_products_of_arrays():
    rng = np.random.default_rng(0)
    a, b = fp.array(rng.normal(size=(3, 4, 37)), "fp16"), fp.array(rng.normal(size=(37, 5)), "fp16")
    c = fp.array(rng.normal(size=(3, 4, 5)), "fp32")
    unit = fp.matrix_unit("h100", "wgmma")
    made = unit.on("fp16")
    got = fp.matmul(a, b, c, accumulate=unit)
    assert got.format == fp.FP32
    for i in range(3):
        want = multiply(a[i]._values, b._values, made, c[i]._values)
        assert np.array_equal(got[i].to_numpy(), want)
    halves = fp.matmul(a, b, c, accumulate=unit, out="fp16")
    assert halves.tolist() == got.astype("fp16").tolist()
    assert (
        fp.einsum("bij,jk->bik", a, b, accumulate=unit).tolist()
        == fp.matmul(a, b, accumulate=unit).tolist()
    )
    assert fp.dot(a[0, 0], b[:, 0], accumulate=unit) == fp.matmul(a, b, accumulate=unit)[0, 0, 0]
    with fp.arithmetic(rounding="toward_positive", subnormals="ftz+daz"):
        assert fp.matmul(a, b, c, accumulate=unit).tolist() == got.tolist()


def test_padding_with_zeros_is_what_a_caller_would_do():
    rng = np.random.default_rng(3)
    a, b = (
        fp.quantize(rng.normal(size=(2, 21)), "e4m3"),
        fp.quantize(rng.normal(size=(21, 2)), "e4m3"),
    )
    for name in ("h100 wgmma", "h100 mma", "ada"):
        made = fp.MatrixUnit.parse(name).on("e4m3")
        padded = multiply(np.pad(a, ((0, 0), (0, 11))), np.pad(b, ((0, 11), (0, 0))), made)
        assert np.array_equal(multiply(a, b, made), padded)


def test_convolutions_are_products_of_patches():
    rng = np.random.default_rng(4)
    x, w = (
        fp.array(rng.normal(size=(2, 3, 6, 5)), "fp16"),
        fp.array(rng.normal(size=(4, 3, 3, 3)), "fp16"),
    )
    unit = fp.matrix_unit("a100")
    y = fp.conv2d(x, w, accumulate=unit)
    assert (y.format, y.shape) == (fp.FP32, (2, 4, 4, 3))
    patch = x._values[1, :, 2:5, 1:4].reshape(1, -1)
    want = multiply(w._values.reshape(4, -1), patch.T, unit.on("fp16"))
    assert y[1, :, 2, 1].tolist() == want[:, 0].tolist()
    grad = y.astype("fp16")
    assert fp.conv2d_weight(x, w.shape, grad, accumulate=unit).shape == w.shape
    assert fp.conv2d_input(x.shape, w, grad, accumulate=unit).shape == x.shape
