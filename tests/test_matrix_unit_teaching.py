"""What explains and compares matrix units: `fp.explain.matrix_step` and ``fpemu matmul --compare``."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fpemu as fp
from fpemu.cli.main import main


def test_a_step_told():
    told = fp.explain.matrix_step([1, -1, "2^-10"], [1, 1, "2^-15"], 0, "a100", f="fp16")
    assert told.result == 0.0
    assert (told.facts["exponent"], told.facts["unit_exponent"]) == (0, -24)
    assert told.facts["kept"] == [2**24, -(2**24), 0, 0]
    assert "2**-24, 24 bits below" in told
    assert "not run on hardware by fpemu" in told
    assert told.facts["fp32"] == str(2.0**-25)
    assert (
        fp.explain.matrix_step([1, -1, "2^-10"], [1, 1, "2^-15"], 0, "h100", f="fp16").result
        == 2.0**-25
    )
    assert "<table" in told._repr_html_()


def test_the_floor_and_specials_are_told():
    told = fp.explain.matrix_step([2.0**-100], [2.0**-100], 0, "h100", f="bf16")
    assert "the floor of this unit" in told
    assert np.isnan(fp.explain.matrix_step([np.inf], [0.0], 0, "h100", f="bf16").result)
    assert "decide before any sum" in fp.explain.matrix_step([np.inf], [1.0], 0, "h100", f="bf16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1] * 9, [1] * 9, 0, "a100"), "takes 1 to 8 products, got 9"),
        (([1], [1, 2], 0, "a100"), "two vectors of one length"),
        (([1] * 9, [1] * 9, 0, "mi300"), "takes 1 to 8 products, got 9; longer sums are chains"),
        (([1] * 3, [1] * 3, 0, "mi100", "bf16"), "takes 1 to 2 products"),
        (([1] * 9, [1] * 9, 0, "mi100", "fp32"), "takes 1 to 8 products"),
        (([1], [1], 0, "mi300", "e4m3"), "does not multiply e4m3"),
        (([1], [1], 0, "fp32"), "unit must be a matrix unit"),
    ],
)
def test_steps_that_cannot_be_told(arguments, message):
    with pytest.raises(fp.FpemuError, match=message):
        fp.explain.matrix_step(*arguments[:4], f=(*arguments, "fp16")[4])


def test_chips_compared(capsys):
    assert main(["matmul", "--random", "6,64,5", "--compare", "v100,h100 wgmma,fp32"]) == 0
    shown = capsys.readouterr().out
    assert "not as h100 wgmma" in shown
    assert "v100 mma m8n8k4 fp16 -> fp32" in shown
    assert "not run on these chips" in shown


def test_chips_compared_as_json(capsys, tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in (("a.npy", (3, 32)), ("b.npy", (32, 2))):
        np.save(tmp_path / name, rng.normal(size=shape))
    files = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    names = "ada,h100 wgmma,h100 mma"
    assert main(["matmul", *files, "--format", "e4m3", "--compare", names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    a, b = (fp.array(np.load(f), "e4m3") for f in files)
    results = [fp.matmul(a, b, accumulate=name).to_numpy() for name in names.split(",")]
    for i, got in enumerate(results):
        for one in found["first"]:
            assert one["values"][i] == float(got[tuple(one["index"])])
    assert found["on hardware"] is False
    apart = (results[0] != results[1]) | (results[0] != results[2])
    assert found["differing"] == np.sum(apart) > 0


def test_a_unit_as_a_model_beside_others(capsys):
    assert main(["matmul", "--random", "2,16,2", "--model", "h100 wgmma", "--model", "fp16"]) == 0
    assert "h100 wgmma m64nNk16 fp16 -> fp32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("h1000", "unknown chip or format 'h1000'"),
        ("", "takes chips and models"),
        ("t4,mi10", "mi100"),
    ],
)
def test_unknown_chips(capsys, names, message):
    assert main(["matmul", "--random", "2,2,2", "--compare", names]) == 2
    assert message in capsys.readouterr().err
