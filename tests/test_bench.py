"""`fpemu bench`: every figure is there, and measured; how large it is, no test asks."""

from __future__ import annotations

import json
import platform

import numpy as np
import pytest

import fpemu as fp
from fpemu.accumulation import threads
from fpemu.bench import arrays as bench
from fpemu.bench import assembly, loops, peers, products, units
from fpemu.cli.main import main
from fpemu.rounding import ROUNDING


def test_bench_measures_every_mode_and_operation(capsys):
    assert (
        main(["bench", "quantize", "elementwise", "--size", "1000", "--repeats", "2", "--json"])
        == 0
    )
    (found,) = json.loads(capsys.readouterr().out)
    assert {"cores", "numpy", "numba"} <= found["machine"].keys()
    ours = [row for row in found["rows"] if row["what"] == "fpemu"]
    assert {(row["format"], row["mode"]) for row in ours} == {
        (f.name, mode) for f in bench.FORMATS for mode in ROUNDING
    }
    assert {row["what"] for row in found["rows"]} >= {"ml_dtypes", "NumPy", "divide", "sqrt"}
    assert all(row["ratio"] > 0 and row["ns_per_element"] > 0 for row in found["rows"])


def test_bench_prints_tables_and_start_up(capsys):
    assert main(["bench", "start", "elementwise", "--size", "10", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "later start" in out
    assert "relative to NumPy float32" in out
    assert main(["bench", "speed"]) == 2


def test_the_median_is_of_ratios():
    times = iter([1.0, 2.0, 1.0, 4.0, 1.0, 3.0])
    clock = [0.0]

    def fake():
        clock[0] += next(times, 0.0)

    fake_clock = bench.time.perf_counter
    try:
        bench.time.perf_counter = lambda: clock[0]
        ratio, seconds = bench.median_ratio(fake, lambda: fake(), 1)
    finally:
        bench.time.perf_counter = fake_clock
    # The first two calls warm up (1 and 2 seconds), then the base takes 1 and the other 4.
    assert (ratio, seconds) == (4.0, 4.0)
    assert np.isfinite(ratio)


def test_products_are_measured_in_every_format(capsys):
    assert main(["bench", "matmul", "--n", "20", "--repeats", "1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    products = [row for row in found["rows"] if row["table"] == "matmul"]
    ours = {(row["format"], row["mode"]): row for row in products if row["what"] == "fpemu"}
    assert ours.keys() >= {
        ("fp16", "fp16 sequential"),
        ("e4m3", "fp32 exact"),
        ("fp32", "fp32 sequential"),
    }
    assert products[0]["ratio"] == 1
    assert {row["what"] for row in products} >= {"Numba, plain loop", "NumPy, loop over k"}
    # Labels are true: where each step is rounded, a sum of ones stops where gaps get to be 2.
    for row in products:
        if row["mode"] == f"{row['format']} sequential" and row["format"] != "e3m4":
            stop = 2.0 ** (fp.as_format(row["format"]).precision)
            assert row["ones"] == min(stop, 4096), row
        elif "at the end" in row["mode"] or "kahan" in row["mode"]:
            assert row["ones"] == 4096, row
    pairs = [row for row in found["rows"] if row["table"] == "matmul pairs"]
    assert {row["against"] for row in pairs} == {
        "the same on 1 thread",
        "a plain float32 loop, 1 thread",
    }
    assert main(["bench", "matmul", "--n", "8", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "multiply-adds" in out
    assert "a plain float32 loop" in out


def test_matrix_units_are_measured(capsys):
    assert main(["bench", "units", "--n", "16", "--repeats", "1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    ours = [row for row in found["rows"] if row["what"] == "fpemu"]
    labels = {row["mode"] for row in ours}
    assert any(label.startswith("mi100 mfma 32x32x4bf16") for label in labels)
    assert {"h100 wgmma promote=128 on e4m3", "mi300 mfma 32x32x8_f16 fp16 -> fp32"} <= labels
    assert any(label.endswith("e4m3 every 16") for label in labels)
    assert {row["threads"] for row in ours} == {1, threads.threads()}
    assert all(row["ns_per_element"] > 0 and row["ratio"] > 0 for row in found["rows"])


def test_matrix_units_beside_each_other(capsys, monkeypatch):
    some = [s for s in units.subjects() if s.label.startswith(("v100", "mi200"))]
    monkeypatch.setattr(units, "subjects", lambda: iter(some))
    assert main(["bench", "units", "--n", "8", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "v100 mma m8n8k4 fp16 -> fp32" in out
    assert "relative to MMA-Sim's" in out


def test_peers_that_are_missing_or_do_not_load_are_named(capsys, monkeypatch):
    def broken(a, b):
        raise RuntimeError("no compiler")

    here = next(peers.everyone())
    gone = peers.Contender("gone", "fp16", "fp16 sequential", broken, needs="no_such_module")
    silent = peers.Contender("silent", "fp16", "fp16 sequential", broken)
    monkeypatch.setattr(products, "everyone", lambda: iter([here, gone, silent]))
    monkeypatch.setattr(products, "PRODUCTS", [])
    monkeypatch.setattr(products, "THREADED", ())
    monkeypatch.setattr(products, "COSTS", ())
    assert main(["bench", "matmul", "--n", "4", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "left out: no_such_module (not installed)" in out
    assert "left out: silent (no compiler)" in out


def test_threads_are_given_back():
    before = threads.threads()

    def interrupted():
        with products.threads_used(1):
            raise KeyboardInterrupt(threads.threads())

    with pytest.raises(KeyboardInterrupt, match="1"):
        interrupted()
    assert threads.threads() == before


X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.skipif(not X86, reason="reads the assembly of x86-64")
@pytest.mark.skipif(X86 and "avx2" not in loops.processor(), reason="no AVX2 here")
def test_every_inner_loop_of_products_is_packed(capsys):
    assert main(["bench", "assembly", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert "avx2" in found["machine"]["compiled for"]
    loops = {row["what"]: row for row in found["rows"]}
    assert {"E4M3", "BF16", "FP32", "any format in float32", "exact, in bins"} <= loops.keys()
    assert "any step in float64, nearest even" in loops
    for what, row in loops.items():
        assert row["bits"] >= 256, what
        assert row["elements"] == row["bits"] // (64 if "64" in what or "bins" in what else 32), (
            what
        )
        assert row["turn"] % row["elements"] == 0, what
    if "f16c" in found["machine"]["compiled for"]:
        assert "f16c" in loops["FP16"]["uses"]
    assert "fma" in loops["E4M3"]["uses"] or "fma" not in found["machine"]["compiled for"]


SCALAR = """
outside:
.LBB0_1:
	vmulss	(%r10,%r9,4), %xmm0, %xmm1
	vcvtps2ph	$4, %xmm1, %xmm1
	jne	.LBB0_1
.LBB0_2:
	xorl	%r9d, %r9d
.LBB0_3:
	vxorps	%xmm4, %xmm4, %xmm4
	vpaddq	%zmm12, %zmm29, %zmm29
	vfmadd213pd	%zmm1, %zmm2, %zmm3
	je	.LBB0_4
	jmp	.LBB0_3
.LBB0_4:
	decq	%rax
	jne	.LBB0_2
"""


def test_what_is_computed_one_by_one_is_seen_as_such():
    first, second = assembly.loops(SCALAR)
    assert (first.function, first.bits, first.elements, first.uses) == ("outside", 32, 1, ("f16c",))
    # The outer loop is none of the innermost; setting a register to zero is no arithmetic.
    assert (second.bits, second.elements, second.length) == (512, 8, 5)
    assert second.turn("fmadd") == 8
    assert second.uses == ("avx512", "fma")


def test_other_processors_are_refused(capsys, monkeypatch):
    monkeypatch.setattr(loops.platform, "machine", lambda: "aarch64")
    assert main(["bench", "assembly"]) == 2
    assert "only that of x86-64" in capsys.readouterr().err
