"""``fpemu policy``: what it prints, as text, JSON and TOML, and its exit status."""

from __future__ import annotations

import json
import re
from fractions import Fraction

import numpy as np
import pytest

import fpemu as fp
from fpemu import exact
from fpemu.cli.main import main
from fpemu.formats import NAMED
from fpemu.policy.describe import to_zero
from fpemu.rounding import ROUNDING


def fpemu(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(["policy", *arguments])
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list(capsys):
    status, out, err = fpemu(capsys, "--list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(fp.policies)
    status, out, _ = fpemu(capsys, "--list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["fp8_hybrid"]["gradients"] == "e5m2"
    assert rows["fp16_master_scaled"]["others"] == "loss_scale=1024"
    assert fp.Policy.parse(rows["fp8_hybrid"]["policy"]) == fp.policies["fp8_hybrid"]


def test_describe(capsys):
    status, out, err = fpemu(capsys, "fp8_hybrid accumulate.weight_grad='fp32 kahan'")
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["weights"][1:7] == ["e4m3", "448", "0.0156", "0.00195", "<=", "0.000977"]
    assert rows["gradients"][1:3] == ["e5m2", "57344"]
    assert "saturation finite: overflow and infinities become the largest finite value" in out
    assert re.search(r"weight_grad +gradients e5m2 x activations e4m3 +fp32 kahan +fp32 +fp32", out)


def test_passes_in_the_products(capsys):
    said = "bf16 weights.forward=e4m3 activations.weight_grad=fp16 outputs.backward=fp32"
    _, out, _ = fpemu(capsys, said, "--json")
    assert [(row["reads"], row["leaves_as"]) for row in json.loads(out)["products"]] == [
        ("activations bf16 x weights e4m3", "bf16"),
        ("gradients bf16 x weights e4m3", "fp32"),
        ("gradients bf16 x activations fp16", "fp32"),
    ]


def test_describe_as_data(capsys):
    text = "fp16_master accumulate='h100 wgmma' low=linear leave=*; *.norm: inner=fp32"
    _, out, _ = fpemu(capsys, text, "--json")
    facts = json.loads(out)
    assert fp.Policy.from_dict(facts["form"]) == fp.Policy.parse(text)
    role = next(row for row in facts["roles"] if row["role"] == "weights")
    # 2**-24 and 2**-14 are FP16's smallest numbers; half of the first is a tie, which goes to 0.
    assert Fraction(role["smallest_subnormal"]) == Fraction(1, 2**24)
    assert Fraction(role["smallest_normal"]) == Fraction(1, 2**14)
    assert (role["largest"], role["beyond"]) == ("65504", "inf")
    product = facts["products"][0]
    unit = fp.matrix_unit("h100", "wgmma").on("fp16")
    assert (product["accumulates"], product["evidence"]) == ("h100 wgmma", unit.evidence)
    assert facts["lists"]["leave"] == ["*"]
    assert facts["overrides"] == ["*.norm: inner=fp32"]


def test_a_list_decides_about_the_products_too(capsys):
    _, out, _ = fpemu(capsys, "fp8_hybrid fp32=linear", "--json")
    first = json.loads(out)["products"][0]
    assert (first["reads"], first["leaves_as"]) == ("activations fp32 x weights fp32", "fp32")


def _threshold(said: str):
    """What a text such as "<= 0.00195" says of a number: becomes 0 or not; None near the border."""
    if said == "none":
        return lambda x: False
    found = re.match(r"(<=?) ([\d.e+-]+)(.*)", said)
    border = Fraction(found[2])
    return lambda x: None if abs(x - border) * 100 < border else x < border


@pytest.mark.parametrize("subnormals", ["gradual", "ftz"])
@pytest.mark.parametrize("mode", [mode for mode in ROUNDING if mode != "stochastic"])
def test_what_becomes_zero_against_the_exact_reference(mode, subnormals):
    for f in NAMED.values():
        if not f.has_zero:
            continue
        least, normal = Fraction(f.smallest_subnormal), Fraction(f.smallest_normal)
        steps = [least * Fraction(n, 10) for n in (1, 3, 4, 6, 7, 12, 19)]
        steps += [normal - least * Fraction(n, 10) for n in (3, 4, 6, 7, 12)] + [normal]
        zero = _threshold(to_zero(f, mode, subnormals))
        for x in steps:
            if x <= 0:
                continue
            got = exact.round_to(x, f, rounding=mode, subnormals=subnormals)
            want = zero(x)
            assert want is None or (got == 0) == want, (f, mode, subnormals, x, got)


@pytest.mark.parametrize("f", ["fp16", "e4m3", "e5m2"])
def test_ties_are_said_on_the_right_side(f):
    least = Fraction(fp.as_format(f).smallest_subnormal)
    for mode, sign in (("nearest_even", "<="), ("nearest_away", "<")):
        assert (exact.round_to(least / 2, fp.as_format(f), rounding=mode) == 0) == (sign == "<=")
        assert to_zero(fp.as_format(f), mode, "gradual").split()[0] == sign


def test_diff(capsys):
    status, out, _ = fpemu(capsys, "fp16", "--diff", "fp16_master", "--json")
    rows = {row["what"]: (row["a"], row["b"]) for row in json.loads(out)["differences"]}
    assert status == 0
    assert rows == {
        "accumulate": ("fp16", "fp32"),
        "master": ("none", "fp32"),
        "loss": ("fp16", "fp32"),
    }
    _, out, _ = fpemu(capsys, "bf16", "--diff", "bf16 weights.input_grad=fp16; a: inner=fp32")
    assert "weights.input_grad  -     fp16" in out
    assert "a (override)        -     inner=fp32" in out
    one, other = "bf16; a: inner=fp32; *b: inner=fp16", "bf16; *b: inner=fp16; a: inner=fp32"
    _, out, _ = fpemu(capsys, one, "--diff", other, "--json")
    assert json.loads(out)["differences"] == [
        {"what": "order of overrides", "a": "a, *b", "b": "*b, a"}
    ]
    assert fpemu(capsys, "fp16", "--diff", "fp16")[1] == "the same policy\n"


def test_explain_an_mlp(capsys):
    status, out, err = fpemu(capsys, "fp16", "--explain", "mlp", "--sizes", "4,2", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["policy"] == str(fp.policies["fp16"])
    rows = {row["place"]: row for row in found["places"]}
    assert rows["layers.0/forward/weight"]["decided"] == "weights=fp16"
    assert "layers.0/update/weight/result" in rows
    _, out, _ = fpemu(capsys, "fp16", "--explain", "mlp", "--sizes", "4,2")
    assert len(out.splitlines()) == len(rows) + 4


def test_explain_a_model_in_a_file(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from fpemu import nn\nmodel = nn.Sequential(nn.Linear(3, 2))\nshape = (5, 3)\n"
    )
    status, out, _ = fpemu(capsys, "bf16", "--explain", str(path), "--json")
    assert status == 0
    assert "layers.0/weight_grad/accumulate" in {row["place"] for row in json.loads(out)["places"]}


def test_files_and_toml(capsys, tmp_path):
    text = "bf16 low=linear leave=*; @tanh: inner=fp32"
    status, out, _ = fpemu(capsys, text, "--toml")
    path = tmp_path / "mine.toml"
    path.write_text(out)
    assert status == 0
    assert fp.Policy.load(path) == fp.Policy.parse(text)
    assert fpemu(capsys, str(path), "--toml") == (0, out, "")


def test_train_takes_a_file_too(capsys, tmp_path):
    path, data = tmp_path / "mine.json", tmp_path / "d.npz"
    fp.policies["bf16"].save(path)
    np.savez(data, x=np.eye(20, 3, dtype=np.float32), y=np.arange(20) % 2)
    options = ["--data", str(data), "--epochs", "1", "--hidden", "2", "--json"]
    assert main(["train", "mlp", "--policy", str(path), *options]) == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a policy, for example: fpemu policy fp16_master"),
        (["fp61"], "unknown policy 'fp61'; did you mean 'fp64'"),
        (["fp16", "--list"], "--list takes no policy"),
        (["fp16", "--diff", "bf16", "--explain", "mlp"], "--diff and --explain exclude each other"),
        (["fp16", "--toml", "--json"], "--toml and --json exclude each other"),
        (["fp16", "--explain", "gnn"], "--explain takes mlp, cnn, or a FILE.py that sets model"),
        (["fp16", "--explain", "mlp", "--sizes", "4"], "an MLP needs at least an input"),
        (["fp16", "--explain", "mlp", "--sizes", "4,x"], "--sizes must be an integer from 1"),
        (["fp16", "--explain", "mlp", "--batch-size", "0"], "--batch-size must be an integer"),
        (["nowhere.toml"], "cannot read the policy in 'nowhere.toml': No such file"),
        (["bf16_master update=kahan"], "update=kahan and master=fp32 clash"),
    ],
)
def test_wrong_usage_ends_in_2_and_one_line(capsys, arguments, message):
    status, out, err = fpemu(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("fpemu: error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model = 3", "must set model, and batch or shape"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from fpemu import nn\nmodel = nn.Linear(2, 0)", "Linear's outputs must be a positive"),
    ],
)
def test_a_file_without_a_model(capsys, tmp_path, content, message):
    path = tmp_path / "mine.py"
    path.write_text(content)
    status, _, err = fpemu(capsys, "fp16", "--explain", str(path))
    assert (status, message in err) == (2, True), err


def test_a_cnn_explained(capsys):
    assert main(["policy", "fp16", "--explain", "cnn", "--batch-size", "2"]) == 0
    told = capsys.readouterr().out
    assert "layers.0/weight_grad/accumulate" in told
    assert "layers.7/forward/accumulate" in told
