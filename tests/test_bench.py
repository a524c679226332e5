"""`fpemu bench`: every figure is there, and measured; how large it is, no test asks."""

from __future__ import annotations

import json

import numpy as np

from fpemu.bench import arrays as bench
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
    ours = {(row["format"], row["mode"]) for row in found["rows"] if row["what"] == "fpemu"}
    assert ours >= {
        ("fp16", "fp16 sequential"),
        ("e4m3", "fp32 exact"),
        ("fp32", "fp32 sequential"),
    }
    assert found["rows"][0]["ratio"] == 1
    assert main(["bench", "matmul", "--n", "8", "--repeats", "1"]) == 0
    assert "10^9 multiply-adds/s" in capsys.readouterr().out
