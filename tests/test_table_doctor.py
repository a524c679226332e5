"""``fpemu table`` against ml_dtypes, and ``fpemu doctor`` on machines that are made to look broken."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from oracles import ML_DTYPES

from fpemu import doctor
from fpemu.cli.main import main

SMALL = [name for name in ML_DTYPES if name != "bf16"]
DTYPES = {**ML_DTYPES, "e8m0": ml_dtypes.float8_e8m0fnu}
BITS = {"e2m1": 4, "e2m3": 6, "e3m2": 6}


def fpemu(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(list(arguments))
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def theirs(name: str) -> np.ndarray:
    """All values in the order of the codes, decoded by ml_dtypes."""
    codes = np.arange(1 << BITS.get(name, 8), dtype=np.uint8)
    return codes.view(DTYPES[name]).astype(np.float64)


def read(cell: str) -> float:
    base, power, exponent = cell.partition("**")
    return math.copysign(float(base.lstrip("-")) ** int(exponent), 1) if power else float(cell)


def cells_of(grid: str) -> list[str]:
    rows = [line.split() for line in grid.splitlines() if line.startswith("0x")]
    return [cell for row in rows for cell in row[1:]]


@pytest.mark.parametrize("name", [*SMALL, "e8m0"])
def test_every_cell_of_the_grid_reads_back_to_its_code(capsys, name):
    status, out, err = fpemu(capsys, "table", name)
    assert (status, err) == (0, "")
    cells, want = cells_of(out), theirs(name)
    assert len(cells) == len(want)
    for code, (cell, value) in enumerate(zip(cells, want, strict=True)):
        near = np.float32(read(cell)).astype(DTYPES[name]).astype(np.float64)
        same = near == value and np.signbit(near) == np.signbit(value)
        assert same or (np.isnan(near) and np.isnan(value)), (name, hex(code), cell)


def test_the_grid_check_sees_a_swapped_cell(capsys):
    _, out, _ = fpemu(capsys, "table", "e4m3")
    cells = cells_of(out)
    cells[0x3C], cells[0x3D] = cells[0x3D], cells[0x3C]
    assert [read(c) for c in cells[0x38:0x40]] != theirs("e4m3")[0x38:0x40].tolist()


def test_the_grid_has_nibbles_at_its_sides(capsys):
    _, out, _ = fpemu(capsys, "table", "e4m3")
    lines = out.splitlines()
    assert lines[0].split() == [f"_{low:x}" for low in range(16)]
    assert [line.split()[0] for line in lines[2:18]] == [f"0x{high:x}_" for high in range(16)]
    assert lines[9].split()[-2:] == ["448", "nan"]  # 0x7e, 0x7f
    assert "the shortest decimal that rounds to them" in lines[-1]
    _, out, _ = fpemu(capsys, "table", "e2m1")
    assert len(out.splitlines()) == 3
    assert "shortest" not in out
    _, out, _ = fpemu(capsys, "table", "e8m0")
    assert cells_of(out)[0x7E:0x81] == ["2**-1", "2**0", "2**1"]


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "e2m1", "e4m3fnuz"])
def test_csv_and_json_have_every_digit(capsys, name):
    _, out, _ = fpemu(capsys, "table", name, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    _, out, _ = fpemu(capsys, "table", name, "--json")
    assert rows == json.loads(out)
    for code, (row, value) in enumerate(zip(rows, theirs(name), strict=True)):
        assert int(row["code"], 16) == code == int(row["bits"].replace(" ", ""), 2)
        got = float(row["value"])
        assert got == value or (np.isnan(got) and np.isnan(value))
        kind = {True: "nan"}.get(np.isnan(value)) or {True: "infinite"}.get(np.isinf(value))
        assert kind is None or row["kind"] == kind
    assert {row["kind"] for row in rows} >= {"zero", "subnormal", "normal"}


def test_a_window_of_a_large_format(capsys):
    status, out, _ = fpemu(capsys, "table", "fp16", "--from", "0x3c00", "--count", "3", "--json")
    rows = json.loads(out)
    assert status == 0
    want = np.arange(0x3C00, 0x3C03, dtype=np.uint16).view(np.float16).astype(float)
    assert [float(row["value"]) for row in rows] == want.tolist()
    assert [row["shortest"] for row in rows] == ["1", "1.001", "1.002"]
    _, out, _ = fpemu(capsys, "table", "fp16", "--from", "65534")
    assert len(out.splitlines()) == 4  # cut at the last code
    _, out, _ = fpemu(capsys, "table", "fp64", "--count", "2", "--csv")
    assert out.splitlines()[2].startswith("0x0000000000000001,0 ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fp16"],
            "fp16 has 2**16 codes, too many to show; take a format of at most 8 bits, or a ",
        ),
        (["fp16"], "--from 0x3c00 --count 16"),
        (["e4m4"], "unknown format 'e4m4'; did you mean 'e4m3'"),
        (
            ["fp16", "--from", "0x10000"],
            "--from must be a code of fp16, 0 to 65535 or 0x0 to 0xfff",
        ),
        (["fp16", "--from", "one"], "--from must be a code of fp16"),
        (["fp16", "--count", "0"], "--count must be an integer from 1 to 65536, got '0'"),
        (["e4m3", "--csv", "--json"], "--csv and --json exclude each other"),
    ],
)
def test_what_table_refuses(capsys, arguments, message):
    status, out, err = fpemu(capsys, "table", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# -- doctor --------------------------------------------------------------------------------------


def test_doctor_finds_nothing_wrong_here(capsys):
    status, out, err = fpemu(capsys, "doctor")
    assert (status, err) == (0, "")
    assert "nothing is wrong" in out
    status, out, _ = fpemu(capsys, "doctor", "--json")
    report = json.loads(out)
    assert (status, report["ok"]) == (0, True)
    found = {each["name"]: each["found"] for each in report["findings"]}
    assert found["numpy"] == np.__version__
    assert found["rounding"] == "to nearest even"
    assert found["subnormals of float32"] == found["subnormals of float64"] == "kept"
    assert found["self-check"] == "135 conversions equal the exact reference"
    assert Path(found["kernel cache"].split(",")[0]).is_dir()
    assert {"python", "numba", "ml_dtypes", "processor", "threads"} <= set(found)


def wrong(findings) -> list[str]:
    return [f"{each.found}: {each.advice}" for each in findings if each.status == "wrong"]


def test_flush_to_zero_is_noticed():
    assert not wrong(doctor.subnormals())
    (single, double) = wrong(doctor.subnormals(lambda x: x * 0))
    assert single == double
    assert "flushed to zero: something in this process switched flush-to-zero on" in single


@pytest.mark.parametrize("mode", ["up", "down", "toward zero"])
def test_another_rounding_mode_is_noticed(mode):
    import gmpy2

    modes = {"up": gmpy2.RoundUp, "down": gmpy2.RoundDown, "toward zero": gmpy2.RoundToZero}

    def add(a: float, b: float) -> float:
        with gmpy2.context(precision=53, round=modes[mode]):
            return float(gmpy2.add(gmpy2.mpfr(a), gmpy2.mpfr(b)))

    assert not wrong(doctor.direction())
    (said,) = wrong(doctor.direction(add))
    assert said == "not to nearest even: something changed the processor's rounding mode " + (
        "(fesetround): set it back"
    )


def test_wrong_kernels_are_noticed(monkeypatch, capsys):
    from fpemu import convert

    right = convert.quantize

    def off(x, f, **settings):
        return right(x, f, **settings) * np.float32(1.5)

    monkeypatch.setattr(convert, "quantize", off)
    status, out, _ = fpemu(capsys, "doctor")
    assert status == 1
    assert "WRONG  self-check" in out
    assert "self-check: delete the kernel cache and run: fpemu verify" in out
    assert out.rstrip().endswith("findings are wrong")


def test_a_missing_package_and_a_broken_part_are_findings(monkeypatch):
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no_such_package"))
    assert wrong(doctor.versions()) == ["not installed: run: pip install no_such_package"]

    def broken():
        raise RuntimeError("no such thing")
        yield

    monkeypatch.setattr(doctor, "PARTS", (broken, doctor.direction))
    first, second = doctor.examine()
    assert (first.name, first.found, first.status) == (
        "broken",
        "RuntimeError: no such thing",
        "wrong",
    )
    assert second.status == "fine"


def test_variables_that_matter_are_shown(monkeypatch):
    for name in doctor.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert list(doctor.variables()) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    findings = {each.name: each for each in doctor.variables()}
    assert findings["OMP_NUM_THREADS"].found == "3"
    assert "unset NUMBA_DISABLE_JIT" in findings["NUMBA_DISABLE_JIT"].advice


def test_without_the_compiler_doctor_says_so_and_fails():
    done = subprocess.run(
        [sys.executable, "-m", "fpemu", "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 1
    assert "run: unset NUMBA_DISABLE_JIT" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_writeable_folders(tmp_path):
    assert doctor.writeable(tmp_path / "not" / "yet")
    if Path("/proc/1").is_dir():  # which takes no files, not even root's
        assert not doctor.writeable(Path("/proc/1"))
