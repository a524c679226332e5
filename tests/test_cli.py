"""The command line: what it prints, as text and JSON, its errors in one line, its exit status."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import fpemu as fp
from fpemu.cli.main import main
from fpemu.formats import NAMED

QUICK = ["train", "mlp", "--epochs", "1", "--hidden", "8"]


def fpemu(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(list(arguments))
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_show_prints_exact_decimals(capsys):
    status, out, err = fpemu(capsys, "show", "0.1")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "0x2e66  " in lines["fp16"]
    assert "0.0999755859375" in lines["fp16"]
    assert "0.100000001490116119384765625" in lines["fp32"]
    assert "0.10009765625" in lines["bf16"]
    assert "0.1015625" in lines["e4m3"]
    assert "0.09375" in lines["e5m2"]


@pytest.mark.parametrize(
    ("number", "code", "value"),
    [
        ("-0", "0x8000", "-0"),
        ("-2^-25", "0x8000", "-0"),
        ("1e-7", "0x0002", "1.1920928955078125E-7"),
        ("65520", "0x7c00", "inf"),
        ("-inf", "0xfc00", "-inf"),
        ("nan", "0x7e00", "nan"),
        ("0x1p-3", "0x3000", "0.125"),
        ("1/3", "0x3555", "0.333251953125"),
        ("1.00048828125000000000000000000000001", "0x3c01", "1.0009765625"),
        ("1e5000", "0x7c00", "inf"),
        ("0x1p5000", "0x7c00", "inf"),
        ("0x1.0020000000000001p0", "0x3c01", "1.0009765625"),  # float.fromhex: a tie
        ("-0x0p0", "0x8000", "-0"),
    ],
)
def test_show_reads_numbers_exactly(capsys, number, code, value):
    status, out, _ = fpemu(capsys, "show", number, "--format", "fp16", "--json")
    (row,) = json.loads(out)
    assert (status, row["code"], row["value"]) == (0, code, value)


def test_show_json_has_neighbours_and_error(capsys):
    _, out, _ = fpemu(capsys, "show", "464", "--formats", "e4m3,e5m2", "--json")
    e4m3, e5m2 = json.loads(out)
    assert (e4m3["value"], e4m3["below"], e4m3["above"]) == ("448", "416", "nan")
    assert e4m3["error_ulps"] == -0.5
    assert e5m2["value"] == "448"
    assert (e5m2["below"], e5m2["above"], e5m2["bits"]) == ("384", "512", "0 10111 11")


def test_show_has_an_integer_times_a_power_of_two(capsys):
    _, out, _ = fpemu(capsys, "show", "0.1", "--formats", "fp16", "--json")
    (row,) = json.loads(out)
    # 0.1 * 2**14 is 1638.4; its neighbours are 1637 and 1639 sixteen-thousandths.
    assert row["integer_times_power"] == "1638*2**-14"
    assert (float(row["below"]), float(row["above"])) == (1637 / 2**14, 1639 / 2**14)
    _, out, _ = fpemu(capsys, "show", "0.1", "--formats", "fp16")
    header, _, line = out.splitlines()
    assert header.split()[-2:] == ["below", "above"]
    assert line.split()[-1] == "0.10003662109375"


def test_explain_a_rounding(capsys):
    status, out, err = fpemu(capsys, "explain", "464", "--format", "e4m3")
    assert (status, err) == (0, "")
    assert out.startswith("464 in e4m3, nearest_even\n")
    assert "a tie: nearest_even takes the neighbour whose last bit is 0, 448" in out
    _, out, _ = fpemu(
        capsys,
        *("explain", "-465", "--format", "e4m3", "--saturation", "finite", "--json"),
    )
    facts = json.loads(out)
    assert (facts["value"], facts["code"], facts["flags"]) == (
        "-448",
        "0xfe",
        ["inexact", "overflow"],
    )
    chance = ("--rounding", "stochastic", "--seed", "7", "--random-bits", "4")
    _, out, _ = fpemu(capsys, "explain", "0.1", *chance, "--json")
    drawn = fp.quantize([0.1], "fp16", rounding="stochastic", seed=7, random_bits=4)
    assert float(json.loads(out)["value"]) == drawn[0]
    status, out, _ = fpemu(capsys, "explain", "nan", "--format", "e2m1", "--json")
    assert (status, json.loads(out)["value"]) == (0, None)
    _, out, _ = fpemu(capsys, "explain", "2^-15", "--subnormals", "ftz", "--tininess", "before")
    assert "becomes 0, here 0" in out


@pytest.mark.parametrize(
    ("words", "op", "value"),
    [
        (["2048", "+", "1"], "add", "2048"),
        (["2048", "add", "1"], "add", "2048"),
        (["add", "2048", "1"], "add", "2048"),
        (["-1", "-", "-3"], "subtract", "2"),
        (["3", "sub", "1"], "subtract", "2"),
        (["3", "x", "-5"], "multiply", "-15"),
        (["3", "*", "5"], "multiply", "15"),
        (["1", "/", "4"], "divide", "0.25"),
        (["sqrt", "9"], "sqrt", "3"),
        (["fma", "3", "5", "-0.5"], "fma", "14.5"),
    ],
)
def test_explain_an_operation(capsys, words, op, value):
    status, out, _ = fpemu(capsys, "explain", *words, "--json")
    facts = json.loads(out)
    assert (status, facts["op"], facts["value"]) == (0, op, value)
    status, out, _ = fpemu(capsys, "explain", *words)
    assert status == 0
    assert "result" in out


def test_explain_a_sum(capsys):
    status, out, err = fpemu(capsys, "explain", "sum", "1", "--repeat", "4096")
    assert (status, err) == (0, "")
    assert "the sum stopped growing at step 2049, at 2048" in out
    model = ("--model", "fp16 blocked:64", "--json")
    status, out, _ = fpemu(capsys, "explain", "sum", "1", "--repeat", "4096", *model)
    facts = json.loads(out)
    assert (status, facts["value"], facts["stopped"]) == (0, "4096", None)
    assert facts["model"] == "fp16 blocked:64"
    _, out, _ = fpemu(capsys, "explain", "sum", "-1", "0.1", "nan", "--format", "bf16", "--json")
    assert json.loads(out)["value"] == "nan"
    up = ("--rounding", "toward_positive", "--json")
    _, out, _ = fpemu(capsys, "explain", "sum", "2048", "1", *up)
    assert json.loads(out)["value"] == "2050"


def test_info_of_all_and_of_one(capsys):
    status, out, _ = fpemu(capsys, "info")
    assert status == 0
    assert len(out.splitlines()) == 2 + len(NAMED)
    _, out, _ = fpemu(capsys, "info", "e4m3")
    facts = dict(line.rsplit("  ", 1) for line in out.splitlines())
    facts = {key.strip(): value for key, value in facts.items()}
    assert facts["max"] == "448"
    assert facts["has inf"] == "no"
    assert facts["smallest subnormal"] == "0.001953125"
    _, out, _ = fpemu(capsys, "info", "fp16", "--json")
    assert json.loads(out)[0]["largest_exact_integer_run"] == 2048


def test_sums_of_files_and_of_random_numbers(capsys, tmp_path):
    name = str(tmp_path / "terms.npy")
    np.save(name, np.full((64, 64), 0.1))
    _, out, _ = fpemu(capsys, "sum", name, "--json")
    assert json.loads(out)["sum"] == "256"
    _, out, _ = fpemu(capsys, "explain", "sum", name, "--json")
    assert json.loads(out)["value"] == "256"
    fp.save(name, fp.array([1.0] * 40, "e4m3"))
    models = ("--model", "e4m3 sequential", "--model", "fp32 exact")
    _, out, _ = fpemu(capsys, "sum", name, "--format", "e4m3", *models, "--json")
    assert [row["sum"] for row in json.loads(out)["models"]] == ["16", "40"]
    _, out, _ = fpemu(capsys, "sum", "--random", "50", "--seed", "3", "--format", "fp64", "--json")
    want = sum(np.random.default_rng(3).normal(size=50).tolist())
    assert float(json.loads(out)["sum"]) == want


def test_sum_shows_where_ones_stop(capsys):
    status, out, _ = fpemu(capsys, "sum", "--ones", "4096", "--format", "fp16", "--json")
    report = json.loads(out)
    assert status == 0
    assert (
        report["sum"],
        report["exact_sum_of_the_rounded_values"],
        report["swamped_additions"],
    ) == ("2048", "4096", 2048)
    assert report["relative_error"] == "50%"
    _, out, _ = fpemu(capsys, "sum", "--ones", "4096", "--accumulate", "fp32")
    assert re.search(r"^sum +4096$", out, re.M)
    _, out, _ = fpemu(capsys, "sum", "0.1", "--repeat", "4096", "--json")
    assert json.loads(out)["sum"] == "256"  # studies.md, recomputed in test_linalg's way:
    total, step = np.float16(0), np.float16(0.1)
    for _ in range(4096):
        total = np.float16(total + step)
    assert total == 256
    _, out, _ = fpemu(capsys, "sum", "60000", "60000", "--json")
    assert (json.loads(out)["sum"], json.loads(out)["relative_error"]) == ("inf", "-")
    _, out, _ = fpemu(capsys, "sum", "1", "-1", "2.5", "--format", "bf16", "--json")
    assert json.loads(out)["sum"] == "2.5"
    _, out, _ = fpemu(capsys, "sum", "-1/3", "-inf", "--json")
    assert json.loads(out)["sum"] == "-inf"


def test_train_reports_side_by_side(capsys):
    status, out, err = fpemu(capsys, *QUICK, "--policy", "fp16", "--compare", "fp32")
    assert status == 0
    begin, header, first = err.splitlines()
    assert begin.startswith("training 2 runs on 1437 rows of digits")
    assert header.split() == ["epoch", "fp32", "fp16"]
    assert first.split()[0] == "1"
    assert "test accuracy" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("layers.0  update")]
    assert [row[2] for row in rows] == ["fp32", "fp16"]
    for role in ("weights", "activations", "gradients", "accumulate"):
        assert f"layers.2  {role}" in out


def test_train_says_in_words_what_broke(capsys):
    weight = ("--loss-weight", "2^-20", "--hidden", "64", "--epochs", "2")
    _, out, _ = fpemu(capsys, *QUICK, *weight, "--policy", "fp16", "--compare", "fp32")
    assert re.search(r"fp16: .*% of the entries of parameter gradients were zero", out)
    line = next(line for line in out.splitlines() if line.startswith("fp16   "))
    assert float(line.split()[5].rstrip("%")) > 99
    bf16 = ("--policy", "bf16", "--policy", "bf16_master", "--lr", "0.001")
    _, out, _ = fpemu(capsys, *QUICK, *bf16)
    assert re.search(
        r"bf16: 9\d\.\d\d% of the nonzero weight updates left the weight as it was", out
    )
    assert "bf16_master: nothing conspicuous" in out
    _, out, _ = fpemu(capsys, *QUICK, "--policy", "fp16", "--lr", "1e-9")
    assert "fp16: the learning rate 1e-09 is 0 in fp16" in out
    _, out, _ = fpemu(capsys, *QUICK, "--policy", "fp16_master", "--loss-scale", "2^40")
    assert "fp16_master: first infinite or NaN gradient at step 1" in out


def test_train_json_is_reproducible(capsys):
    arguments = (*QUICK, "--policy", "bf16", "--policy", "fp8_hybrid", "--seed", "3", "--json")
    reports = []
    for _ in range(2):
        status, out, _ = fpemu(capsys, *arguments)
        assert status == 0
        report = json.loads(out)
        report.pop("seconds")
        for run in report["runs"]:
            for row in run["epochs"]:
                row.pop("seconds")
        reports.append(report)
    assert reports[0] == reports[1]
    first = reports[0]["runs"][0]
    assert first["policy"].startswith("weights=bf16")
    update = next(r for r in first["losses"] if (r["layer"], r["role"]) == ("layers.0", "update"))
    assert 0 < update["absorbed"] <= update["updates"]
    assert any(place["place"] == "layers.0/weight_grad/accumulate" for place in first["places"])


def test_train_takes_any_policy_and_files(capsys, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5)), rng.integers(0, 3, 40)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    np.savetxt(tmp_path / "d.csv", np.column_stack([x, y]), delimiter=",")
    policy = "weights=e4m3 activations=bf16 gradients=e5m2 accumulate=fp16 master=tf32"
    for name in ("d.npz", "d.csv"):
        status, out, _ = fpemu(capsys, *QUICK, "--data", str(tmp_path / name), "--policy", policy)
        assert status == 0
        assert "e4m3" in out
    status, out, _ = fpemu(capsys, *QUICK, "--data", str(tmp_path / "d.npz"), "--hidden", "")
    assert status == 0
    status, out, _ = fpemu(
        capsys, *QUICK, "--data", str(tmp_path / "d.npz"), "--loss-scale", "2^40"
    )
    assert "first infinite or NaN gradient at step 1" in out


def test_interruption_keeps_the_results(capsys, monkeypatch):
    from fpemu.training import Run

    epoch = Run.epoch

    def stop_in_second(self, on_step=lambda: None):
        if len(self.history.rows) == 1:
            raise KeyboardInterrupt
        return epoch(self, on_step)

    monkeypatch.setattr(Run, "epoch", stop_in_second)
    status, out, err = fpemu(capsys, "train", "mlp", "--epochs", "5", "--hidden", "8", "--json")
    assert status == 130
    assert "interrupted: results up to the last finished epoch follow" in err
    assert json.loads(out)["interrupted"] is True
    assert len(json.loads(out)["runs"][0]["epochs"]) == 1


def test_train_writes_files(capsys, tmp_path):
    wanted = {"--csv": "h.csv", "--save-json": "h.json", "--plot": "h.svg"}
    files = [word for o, name in wanted.items() for word in (o, str(tmp_path / name))]
    train = ("train", "mlp", "--data", "xor", "--hidden", "8", "--epochs", "2", "--compare", "fp32")
    status, out, _ = fpemu(capsys, *train, *files, "--json")
    assert status == 0
    found = json.loads(out)
    assert json.loads((tmp_path / "h.json").read_text()) == found
    header, *rows = (tmp_path / "h.csv").read_text().splitlines()
    assert header == "run,epoch,train_loss,test_loss,test_accuracy,seconds"
    assert [row.split(",")[:2] for row in rows] == [
        ["fp32", "1"],
        ["fp32", "2"],
        ["fp16", "1"],
        ["fp16", "2"],
    ]
    assert float(rows[3].split(",")[3]) == found["runs"][1]["epochs"][1]["test_loss"]
    assert "<svg" in (tmp_path / "h.svg").read_text()


def test_train_goes_on_from_a_checkpoint(capsys, tmp_path):
    def train(epochs, *more):
        words = "train mlp --data moons --hidden 8 --optimizer adamw --schedule cosine --warmup 5"
        words += " --policy bf16_master --micro-batches 2 --clip-norm 1 --batch-size 100 --epochs 4 --json"
        return fpemu(capsys, *words.replace("--epochs 4", f"--epochs {epochs}").split(), *more)

    def told(out):
        (run,) = json.loads(out)["runs"]
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run["epochs"]]
        return rows, run["places"]

    path = str(tmp_path / "c.npz")
    _, want, _ = train(4)
    status, _, err = train(4, "--checkpoint", path, "--every", "3")
    assert (status, err.count("loss ")) == (0, 4)
    # Cut back to the middle, as if it had been interrupted there.
    from fpemu.training import Run

    steps, honest = [], Run._step

    def interrupted(self, rows):
        steps.append(1)
        if len(steps) == 6:
            signal.raise_signal(signal.SIGINT)
        return honest(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_step", interrupted)
        (tmp_path / "c.npz").unlink()
        status, _, err = train(4, "--checkpoint", path, "--resume")
    assert status == 130
    assert f"to go on: the same command with --resume, from {path}" in err
    assert fp.load_checkpoint(path).step == 6
    status, out, err = train(4, "--checkpoint", path, "--resume")
    assert status == 0
    assert told(out) == told(want)
    status, _, err = train(5, "--checkpoint", path, "--resume")  # another cosine
    assert status == 2
    assert "is of another run: schedule is" in err


def test_train_stops_early(capsys):
    words = "train mlp --data xor --hidden 8 --lr 3 --batch-size 80 --epochs 200 --early-stop 2 --compare fp32"
    status, out, _ = fpemu(capsys, *words.split())
    assert status == 0
    assert "stopped early: no better test_loss for 2 epochs" in out


ERRORS = [
    (["show", "abc"], "'abc' is not a number; write for example 0.1"),
    (["show", "0.1", "--formats", "fp61"], "unknown format 'fp61'; did you mean 'fp64'?"),
    (["show", "1e999999999"], "'1e999999999' is not a number"),
    (["show", "2^99999999"], "is not a number"),
    (["explain", "abc"], "'abc' is not a number; write for example 0.1"),
    (["explain", "1", "^", "2"], "unknown operation '^'; allowed: +, add, -, sub"),
    (["explain", "1", "2"], "'1 2' is neither a number nor an operation; write for example 464"),
    (["explain", "sqrt", "1", "2"], "sqrt takes 1 number, got 2"),
    (["explain", "fma", "1"], "fma takes 3 numbers, got 1"),
    (["explain", "1", "--format", "fp61"], "unknown format 'fp61'; did you mean 'fp64'?"),
    (["explain", "1", "--rounding", "up"], "unknown rounding 'up'"),
    (["explain", "1", "--seed", "-1"], "--seed must be an integer from 0 to"),
    (["explain", "1", "--random-bits", "65"], "--random-bits must be an integer from 1 to 64"),
    (["explain", "1", "+", "nan", "--format", "e2m1"], "NaN cannot be stored in e2m1"),
    (["explain"], "required: X"),
    (["sum", "nowhere.npy"], "cannot read 'nowhere.npy': No such file or directory"),
    (["sum", "a.npy", "b.npy"], "give one .npy file, or numbers"),
    (["sum", "1", "--random", "3"], "give numbers to sum, an .npy file, --ones N or --random N"),
    (["explain", "sum"], "sum takes at least one number, for example: explain sum 1 --repeat"),
    (["explain", "sum", "1", "x"], "'x' is not a number"),
    (["explain", "sum", "1", "--repeat", "0"], "--repeat must be an integer from 1 to 524288"),
    (["explain", "sum", "1", "--model", "fp16 kahn"], "unknown order 'kahn'; did you mean"),
    (["explain", "sum", "1", "--tininess", "before"], "--tininess does not go with sum"),
    (["explain", "1", "--repeat", "3"], "--repeat goes with sum, for example"),
    (["explain", "1", "--model", "fp16"], "--model goes with sum, for example"),
    (["info", "e4m4"], "unknown format 'e4m4'; did you mean 'e4m3'"),
    (["sum"], "give numbers to sum, an .npy file, --ones N"),
    (["sum", "1", "--ones", "3"], "give numbers to sum, an .npy file, --ones N"),
    (["sum", "--ones", "0"], "--ones must be an integer from 1 to 100000000, got '0'"),
    (["sum", "--ones", "1e3"], "--ones must be an integer"),
    (["sum", "--ones", "5", "--format", "float17"], "unknown format 'float17'"),
    (["sum", "--ones", "5", "--accumulate", "x"], "unknown format 'x'"),
    (["sum", "nan", "--format", "e2m1"], "NaN cannot be stored in e2m1"),
    (["sum", "--ones", "5", "--repeat", "2"], "--repeat repeats the numbers given"),
    (["show", "0x1q"], "'0x1q' is not a number"),
    ([*QUICK, "--lr", "abc"], "--lr: 'abc' is not a number"),
    ([*QUICK, "--loss-scale", "2^2000"], "--loss-scale: '2^2000' is not a number"),
    ([*QUICK, "--loss-scale", "2^100", "--loss-weight", "2^100"], "loss_scale times loss_weight"),
    ([*QUICK, "--hidden", "1000000,1000000"], "weights; at most 100000000 are allowed"),
    (["train", "gnn"], "unknown model 'gnn'; did you mean 'cnn'? allowed: mlp, cnn"),
    ([*QUICK, "--policy", "fp61"], "unknown policy 'fp61'"),
    ([*QUICK, "--policy", "weights=fp61"], "unknown format 'fp61'"),
    (
        [*QUICK, "--compare", "weigths=fp16"],
        "unknown policy role 'weigths'; did you mean 'weights'",
    ),
    (["train", "mlp", "--epochs", "-3"], "--epochs must be an integer from 1 to 1000000, got '-3'"),
    (["train", "mlp", "--epochs", "many"], "--epochs must be an integer"),
    ([*QUICK, "--lr", "-1"], "lr must be a positive finite number, got -1.0"),
    ([*QUICK, "--lr", "nan"], "lr must be a positive finite number, got nan"),
    ([*QUICK, "--momentum", "2"], "momentum must be at least 0 and below 1, got 2.0"),
    ([*QUICK, "--batch-size", "0"], "--batch-size must be an integer from 1"),
    ([*QUICK, "--hidden", "8,x"], "--hidden must be an integer from 1"),
    ([*QUICK, "--loss-scale", "0"], "loss_scale must be a positive finite number, got 0.0"),
    ([*QUICK, "--loss-weight", "-1"], "loss_weight must be positive and finite, and so as an FP32"),
    ([*QUICK, "--seed", "-1"], "--seed must be an integer from 0"),
    (
        [*QUICK, "--data", "mnits"],
        "unknown data 'mnits'; did you mean 'mnist'? allowed: digits, mnist5k",
    ),
    ([*QUICK, "--data", "copy"], "data 'copy' are tokens, and mlp takes numbers"),
    ([*QUICK, "--optimizer", "adan"], "unknown optimizer 'adan'; did you mean 'adam'?"),
    ([*QUICK, "--optimizer", "adam", "--momentum", "0.5"], "--momentum does not go with adam"),
    ([*QUICK, "--schedule", "step"], "unknown schedule 'step'; did you mean 'step:EPOCHS'?"),
    ([*QUICK, "--schedule", "step:0"], "--schedule step must be an integer from 1"),
    ([*QUICK, "--warmup", "-1"], "--warmup must be an integer from 0"),
    ([*QUICK, "--clip-norm", "0"], "clip_norm must be a positive finite number, got 0.0"),
    ([*QUICK, "--micro-batches", "0"], "--micro-batches must be an integer from 1"),
    ([*QUICK, "--early-stop", "0"], "--early-stop must be an integer from 1"),
    ([*QUICK, "--resume"], "--resume goes on from a checkpoint: give --checkpoint FILE, too"),
    ([*QUICK, "--every", "5"], "--every says how often to write: give --checkpoint FILE, too"),
    ([*QUICK, "--compare", "fp32", "--checkpoint", "c.npz"], "--checkpoint holds one run, and 2"),
    ([*QUICK, "--csv", "nowhere/h.csv"], "--csv: 'nowhere/h.csv' cannot be written"),
    ([*QUICK, "--plot", "h.gif"], "unknown kind of picture '.gif'; did you mean '.svg'?"),
    ([*QUICK, "--data", "nowhere.npz"], "data 'nowhere.npz' cannot be read"),
    (["tran"], "invalid choice: 'tran'"),
    ([], "required: COMMAND"),
    ([*QUICK, "--lr"], "--lr"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_bad_input_gets_one_clear_line_and_status_2(capsys, arguments, message):
    status, out, err = fpemu(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("fpemu: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0, math.nan], [1, 2], [3, 4]], [0, 1, 0], "nan at row 0, column 1 (1 such values)"),
        ([[1.0, math.inf], [1, 2], [3, 4]], [0, 1, 0], "inf at row 0, column 1"),
        ([[1.0, 2.0], [1, 2], [3, 4]], [0, 1, 0.5], "targets must be integers from 0"),
        ([1.0, 2.0], [0, 1], "inputs must be (rows, features)"),
        ([[1e300, 2.0], [1, 2], [3, 4]], [0, 1, 0], "1e+300 at row 0, column 0"),
        ([[1.0, 2.0], [1, 2], [3, 4]], [0, 1, 1e300], "targets must be integers from 0 to 9999"),
        ([[1.0, 2.0], [1, 2], [3, 4]], [0, 1, 10**8], "targets must be integers from 0 to 9999"),
    ],
)
def test_bad_data_is_named_by_position(capsys, tmp_path, x, y, message):
    np.savez(tmp_path / "bad.npz", x=np.array(x), y=np.array(y))
    status, _, err = fpemu(capsys, *QUICK, "--data", str(tmp_path / "bad.npz"))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def test_broken_files_are_refused(capsys, tmp_path):
    for name, content in [
        ("a.npz", b"junk"),
        ("b.csv", b"1,2\n3\n"),
        ("c.npz", b""),
        ("d.csv", b""),
    ]:
        (tmp_path / name).write_bytes(content)
        status, _, err = fpemu(capsys, *QUICK, "--data", str(tmp_path / name))
        assert status == 2, name
        assert err.startswith("fpemu: error: data "), name
        assert err.count("\n") == 1, name
    np.save(tmp_path / "f.npy", np.ones(3))
    (tmp_path / "f.npy").rename(tmp_path / "f.npz")
    status, _, err = fpemu(capsys, *QUICK, "--data", str(tmp_path / "f.npz"))
    assert (status, "it is not a .npz archive" in err) == (2, True)
    np.savez(tmp_path / "e.npz", x=np.ones((3, 2)))
    status, _, err = fpemu(capsys, *QUICK, "--data", str(tmp_path / "e.npz"))
    assert (status, "must hold arrays x and y" in err) == (2, True)


def test_a_missing_extra_gets_one_line_with_the_command(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    status, _, err = fpemu(capsys, *QUICK)
    assert status == 2
    assert err == (
        "fpemu: error: the data set 'digits' needs scikit-learn, which is not installed; "
        "run: pip install 'fpemu[data]'\n"
    )


def test_the_module_runs_as_a_program_without_a_traceback():
    for arguments, status in [(["show", "0.1"], 0), (["info", "x"], 2), (["--version"], 0)]:
        done = subprocess.run(
            [sys.executable, "-m", "fpemu", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == status
        assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error():
    for command in ("info", "info --json", "show 0.1"):
        piped = f"set -o pipefail; {sys.executable} -m fpemu {command} | true"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        done = subprocess.run(
            ["bash", "-c", piped], capture_output=True, text=True, check=False, env=environment
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_said_in_one_line():
    command = f"{sys.executable} -m fpemu info > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "fpemu: error: cannot write the output: No space left on device\n"


def test_sums_by_several_models(capsys):
    models = ("--model", "fp16 sequential", "--model", "fp16 kahan", "--model", "fp32 exact")
    status, out, _ = fpemu(capsys, "sum", "--ones", "4096", *models, "--json")
    assert status == 0
    found = json.loads(out)["models"]
    assert [row["sum"] for row in found] == ["2048", "4096", "4096"]
    assert [row["wrong"] for row in found] == ["1/1", "0/1", "0/1"]
    # 2048 too few, where numbers are 4 apart; 4096 * 2**-11 is 2.
    assert (found[0]["worst ulps"], found[0]["observed"], found[0]["n*u"]) == ("512", "0.5", "2")
    assert found[0]["swamped"] == "2048"
    _, out, _ = fpemu(capsys, "sum", "0.1", "0.2", "--model", "bf16 sequential")
    assert "exact sum of the 2 rounded values: 0.2999267578125" in out  # 3 * 1638 * 2**-14


def test_products_of_files_by_models(capsys, tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", fp.array(rng.normal(size=(2, 30)), "fp16"))
    np.save(tmp_path / "b.npy", rng.normal(size=(30, 3)).astype(np.float32))
    files = (str(tmp_path / "a.npy"), str(tmp_path / "b.npy"))
    written = ("--out", str(tmp_path / "c.npy"))
    status, out, _ = fpemu(
        capsys,
        "matmul",
        *files,
        "--model",
        "fp16 sequential",
        "--model",
        "fp16 exact",
        *written,
        "--json",
    )
    assert status == 0
    plain, exact = json.loads(out)["models"]
    assert exact["wrong"] == "0/6"
    assert plain["wrong"] != "0/6"
    assert float(exact["worst ulps"]) <= 0.5
    assert float(plain["observed"]) < float(plain["n*u"])
    assert fp.load(tmp_path / "c.npy").shape == (2, 3)
    _, out, _ = fpemu(capsys, "matmul", "--random", "2,50,2", "--format", "e5m2")
    assert "2 x 2 sums of 50 products of e5m2" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["matmul"], "give two .npy files or --random M,K,N"),
        (["matmul", "--random", "2,3"], "--random takes three sizes M,K,N, got '2,3'"),
        (["matmul", "--random", "200,200,200"], "more than the 2000000 that are compared"),
        (["matmul", "no.npy", "no.npy"], "cannot read 'no.npy': No such file"),
        (["matmul", "--random", "2,3,2", "--model", "fp16 khan"], "did you mean 'kahan'?"),
        (["sum", "inf", "--model", "fp16 kahan"], "infinities and NaN have none"),
        (["sum", "1", "--accumulate", "fp32", "--model", "fp16 kahan"], "leave out --accumulate"),
    ],
)
def test_bad_models_and_operands_are_refused(capsys, arguments, message):
    status, _, err = fpemu(capsys, *arguments)
    assert status == 2
    assert message in err
