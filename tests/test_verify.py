"""`fpemu verify`: right counts, and a planted bug makes it fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fpemu import elementwise, verify
from fpemu.cli.main import main
from fpemu.verify import conversions


def rows(capsys, *arguments: str) -> tuple[int, list[dict]]:
    status = main(["verify", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_fp8_pairs_have_the_published_counts(capsys):
    status, found = rows(capsys, "e4m3", "--op", "add", "--op", "multiply")
    add, multiply, total = found
    # Of the 64,516 finite pairs: counted with exact rationals before this package existed
    # (add 11,884 exact, 52,196 inexact, 436 overflow; multiply 15,252, 39,144 and 10,120). The
    # other 1,020 pairs hold a NaN, which counts as exact.
    assert (add["exact"] - 1020, add["rounded"], add["overflowed"]) == (11884, 52196, 436)
    assert (multiply["exact"] - 1020, multiply["rounded"]) == (15252, 39144)
    assert multiply["overflowed"] == 10120
    assert (status, total["wrong"]) == (0, 0)


def test_every_operation_of_a_small_format_is_right(capsys):
    status, found = rows(capsys, "e3m2", "e5m2fnuz")
    assert (status, found[-1]["wrong"]) == (0, 0)
    assert {row["setting"] for row in found} >= {"every pair, nearest_even", *verify.MODES}


def test_a_planted_bug_is_found_and_shown(capsys, monkeypatch):
    honest = elementwise.apply

    def wrong(op, *operands, f, **settings):
        return np.abs(honest(op, *operands, f=f, **settings))

    monkeypatch.setattr(elementwise, "apply", wrong)
    assert main(["verify", "e5m2", "--op", "add"]) == 1
    out = capsys.readouterr().out
    assert "e5m2 add every pair, nearest_even: " in out
    assert "want -" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["e9m9"], "unknown format 'e9m9'"), (["e4m3", "--op", "ad"], "did you mean 'add'?")],
)
def test_bad_names_are_refused(capsys, arguments, message):
    assert main(["verify", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_all_float32_inputs_are_cut_into_parts_that_agree(monkeypatch):
    """The exhaustive run's judge on one of its 256 parts: positive numbers from 0.5 to 2."""
    import fpemu as fp

    monkeypatch.setattr(conversions, "PARTS", [0x3F])
    for f in (fp.E4M3, fp.FP16, fp.TF32, fp.E8M0):
        (outcome,) = conversions.every_float32_by_a_peer(f)
        assert outcome.exact + outcome.rounded == 1 << 24
        assert outcome.wrong == 0


def test_several_processes_find_the_same(capsys):
    arguments = ("e3m2", "e5m2fnuz", "--op", "convert", "--op", "add", "--op", "sqrt")
    assert rows(capsys, *arguments, "--jobs", "2") == rows(capsys, *arguments)


def test_peers_are_asked_and_the_kernels_side_with_the_reference(capsys):
    status = main(["verify", "--peers", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == 0
    assert all(row["ours"] == row["right"] for row in found)
    right = {(row["library"].split()[0], row["x"]): row["right"] for row in found}
    # Found by hand from the definitions, before this package existed.
    assert right["ml_dtypes", "16973823"] == 16908288
    assert right["ml_dtypes", "-431.99999999999994"] == -416
    assert right["ml_dtypes", "3.0"] == 2
    assert right["gfloat", "1000000000.0"] == 240
    assert main(["verify", "--peers"]) == 0
    assert "right" in capsys.readouterr().out


def test_a_wrong_kernel_fails_the_comparison_with_peers(capsys, monkeypatch):
    from fpemu.verify import peers

    monkeypatch.setattr(peers, "quantize", lambda x, f, rounding: np.float64(0))
    assert main(["verify", "--peers"]) == 1
