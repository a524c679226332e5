"""Explained sums: the bits of fp.sum, milestones against NumPy and rationals, words, errors."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import same
from test_accumulation import FORMATS, models, numbers
from test_explain import lines_of

import fpemu as fp
from fpemu import accumulation
from fpemu.accumulation import Accumulator
from fpemu.exact import accumulation as reference
from fpemu.explaining import sums, watching

MORE = [*FORMATS, fp.E2M1, fp.E8M0, fp.E4M3B11FNUZ, fp.Format("unsigned", 4, 3, signed=False)]


# -- the same bits as fp.sum ---------------------------------------------------------------------


def check_against_sum(x, f, **options) -> None:
    try:
        want = fp.sum(fp.array(x, f), **options).item()
    except fp.ArgumentError:
        with pytest.raises(fp.ArgumentError):
            fp.explain.sum(x, f, **options)
        return
    told = fp.explain.sum(x, f, **options)
    assert same(told.result, want), (told, want)
    assert int(told.facts["code"], 16) == fp.encode(want, told_format(told, options, f))


def told_format(told, options, f):
    model = options["accumulate"]
    return fp.as_format(options.get("out") or model.out or f)


@settings(max_examples=250, deadline=None)
@given(data=st.data(), model=models(), out=st.sampled_from([None, None, "fp32", "e5m2"]))
def test_a_sum_ends_where_fp_sum_ends(data, model, out):
    f = data.draw(st.sampled_from(FORMATS))
    x = numbers(data.draw, f, data.draw(st.integers(0, 9)))
    check_against_sum(x, f, accumulate=model, out=out)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["sequential", "pairwise:2", "kahan", "exact"]))
def test_so_it_does_in_formats_that_lack_something(data, kind):
    f = data.draw(st.sampled_from(MORE))
    x = data.draw(
        st.lists(st.floats(-500, 500) | st.sampled_from([math.inf, math.nan]), max_size=6)
    )
    check_against_sum(x, f, accumulate=Accumulator(f, kind))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), model=models(modes=["stochastic"]), seed=st.integers(0, 99))
def test_chance_draws_what_it_draws_in_fp_sum(data, model, seed):
    f = data.draw(st.sampled_from(FORMATS))
    x = numbers(data.draw, f, 6)
    check_against_sum(x, f, accumulate=replace(model, seed=seed, random_bits=7))
    check_against_sum(x, f, accumulate=model)  # seed 0, outside of a block
    with fp.arithmetic(seed=seed):
        want = fp.sum(fp.array(x, f), accumulate=model).item()
        assert same(fp.explain.sum(x, f, accumulate=model).result, want)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), model=models())
def test_a_start_is_that_of_the_machine(data, model):
    x = numbers(data.draw, fp.FP16, 5)
    start = data.draw(st.floats(-100, 100))
    model = accumulation.run.filled(model)
    begin = fp.quantize([[start]], model.result_format)
    want = accumulation.accumulate(None, x[:, None], (fp.FP16, fp.FP16), model, begin)
    told = fp.explain.sum(x, "fp16", accumulate=model, start=start, out=model.result_format)
    assert same(told.result, want.item())


@settings(max_examples=100, deadline=None)
@given(data=st.data(), model=models())
def test_an_observer_changes_nothing_and_sees_the_truth(data, model):
    """What exact arithmetic would have at the end is the exact sum, whatever the order."""
    x = numbers(data.draw, fp.FP16, 7)
    terms = [((v, fp.FP16),) for v in x.tolist()]
    seen = []
    plain = reference.accumulate(terms, model)
    assert same(reference.accumulate(terms, model, observe=seen.append), plain)
    assert {step.role for step in seen} <= set(reference.ROLES)
    last = [step for step in seen if step.role != "correction"][-1]
    assert same(last.result, plain)
    if np.isfinite(x).all() and model.kind != "exact":
        assert last.truth == sum(map(Fraction, x.tolist()))


# -- milestones and counts, against NumPy's float16 ------------------------------------------------


def check_steps(x: list[float]) -> None:
    total, exact, lost = np.float16(0), Fraction(0), Fraction(0)
    inexact, swamped, run = [], [], 0
    for k, term in enumerate(np.float16(x), 1):
        before = total
        total = before + term
        exact += Fraction(float(term))
        if Fraction(float(before)) + Fraction(float(term)) != Fraction(float(total)):
            inexact.append(k)
        if term != 0:
            gone = total == before
            run = run + 1 if gone else 0
            if gone:
                swamped.append(k)
                lost += Fraction(float(term))
    told = fp.explain.sum(x, "fp16")
    firsts = {e: m["step"] for m in told.facts["milestones"] for e in m["events"]}
    assert told.result == total
    assert Fraction(told.facts["exact_sum"]) == exact
    assert firsts.get("inexact") == (inexact[0] if inexact else None)
    assert firsts.get("swamped") == (swamped[0] if swamped else None)
    assert told.facts["counts"]["inexact"] == len(inexact)
    assert told.facts["counts"]["swamped"] == len(swamped)
    assert Fraction(told.facts["lost_to_swamped"]) == lost
    stopped = told.facts["stopped"]
    if run < 2:
        assert stopped is None
    else:
        assert (stopped["step"], stopped["additions"]) == (swamped[-run], run)
        assert float(stopped["at"]) == total


terms = st.lists(
    st.sampled_from([1.0, 1024.0, 1.5, -0.25, 2.0**-11, 2.0**-12, 0.0, -1024.0, 0.0999755859375]),
    max_size=12,
)


@given(x=terms)
@settings(deadline=None)
def test_milestones_are_where_numpy_has_them(x):
    check_steps(x)


@pytest.mark.parametrize("bug", ["order", "lost", "count", "inexact"])
def test_a_planted_bug_in_the_watch_is_caught(monkeypatch, bug):
    right = watching.Watch._note_swamped

    def wrong(self, now):
        if bug == "inexact" and now.number == 2:
            return None
        was = self.lost
        right(self, now)
        if bug == "order" and "swamped" in self.counts:
            self.firsts["swamped"] = now
        if bug == "lost" and self.lost != was:
            self.lost = was + abs(self.lost - was)
        if bug == "count" and now.number == 1:
            self.counts["swamped"] = 1
        return None

    x = [1024.0, 2.0**-12, -(2.0**-12), 1.0]
    check_steps(x)
    monkeypatch.setattr(watching.Watch, "_note_swamped", wrong)
    with pytest.raises(AssertionError):
        check_steps(x)


@pytest.mark.parametrize("accumulate", ["fp16", "bf16", "fp16 permuted:3", "fp16 blocked:8"])
def test_swamped_additions_are_those_of_a_trace(accumulate):
    x = fp.array(np.random.default_rng(4).exponential(size=500) ** 3, "fp16")
    with fp.trace() as t:
        fp.sum(x, accumulate=accumulate)
    counts = fp.explain.sum(x, "fp16", accumulate=accumulate).facts["counts"]
    assert counts["swamped"] == t.count("swamped") > 0


# -- the classical cases, in words ------------------------------------------------------------------


def test_4096_ones_stop_at_2048():
    told = fp.explain.sum([1] * 4096, "fp16")
    said = lines_of(told)
    assert told.splitlines()[0] == "sum of 4096 terms in fp16: fp16 sequential, nearest_even"
    assert said["terms"] == "4096 numbers of fp16, all 1"
    assert said["result"].startswith("2048 0x6800 0 11010 0000000000")
    # At 4096 numbers are 4 apart: 2048 / 4. The bound: 4096 * 2**-11, and 64 * 2**-11.
    assert said["error"] == "-512 ulp of the exact sum, 2**2 = 4; relative 0.5"
    assert "n*u = 2, sqrt(n)*u = 0.03125 with u = 2**-11" in said["bounds"]
    assert said["step 2049"] == (
        "the first inexact addition, the first swamped addition "
        "2048 + 1 = 2049, which becomes 2048 "
        "1 ulp of the total is 2; the addend is 1/2 of it "
        "a tie: nearest_even takes the neighbour whose last bit is 0, 2048"
    )
    assert said["stopped"] == (
        "the sum stopped growing at step 2049, at 2048: all 2048 additions from there on were "
        "swamped and lost 2048 1 ulp there is 2; the addends are all 1 in magnitude, 1/2 of that, "
        "and a tie goes to even"
    )
    assert said["counts"].startswith("4096 additions: 2048 inexact, 2048 swamped")
    cure = {row["model"]: row["value"] for row in told.facts["cure"]}
    assert cure.pop("fp16 sequential") == "2048"
    assert set(cure.values()) == {"4096"}
    assert {"fp16 pairwise", "fp16 kahan", "fp32 sequential", "fp16 exact"} <= set(cure)


def test_other_models_are_computed():
    x = np.random.default_rng(5).standard_normal(300)
    for rounding in ("nearest_even", "toward_zero", "stochastic"):
        told = fp.explain.sum(x, "bf16", rounding=rounding)
        assert len(told.facts["cure"]) == 6
        for row in told.facts["cure"]:
            model = replace(Accumulator.parse(row["model"]), rounding=rounding)
            want = fp.sum(fp.array(x, "bf16"), accumulate=model).item()
            assert float(row["value"]) == want
            exact = Fraction(told.facts["exact_sum"])
            place = math.frexp(exact)[1] - 8  # 8 bits of precision
            assert row["error_ulps"] == float((Fraction(want) - exact) / Fraction(2) ** place)


def test_a_model_that_comes_to_nan_is_left_out_where_there_is_none():
    # E3M4 ends at 15.5: the third six overflows. The sum stays infinite and ends at E2M1's largest
    # number, 6; Kahan's correction is an infinity less an infinity, and E2M1 has no NaN.
    told = fp.explain.sum([6.0] * 8 + [-6.0] * 8, "e2m1", accumulate="e3m4")
    assert told.result == 6
    cure = {row["model"]: row["value"] for row in told.facts["cure"]}
    assert cure["e3m4 kahan"] is None
    assert cure["fp32 sequential"] == cure["e3m4 exact"] == "0"
    assert "it comes to NaN, which e2m1 has not" in told


def test_long_sums_are_compared_with_all_models():
    told = fp.explain.sum(np.ones(20000), "fp16")
    cure = {row["model"]: row["value"] for row in told.facts["cure"]}
    # Kahan's correction holds what is missing until a whole gap of 2, 4, 8 or 16 is together.
    assert (cure["fp16 kahan"], cure["fp16 exact"]) == ("20000", "20000")
    assert told.facts["counts"]["swamped"] == 20000 - 2048


def test_growth_is_that_of_the_sum():
    x = [3.0, 2.0**-12, 5.0, -(2.0**-12), 1.0, 7.0]
    for row in fp.explain.sum(x, "fp16", order="kahan").facts["growth"]:
        assert Fraction(row["exact"]) == sum(map(Fraction, x[: row["step"]]))
    told = fp.explain.sum([1] * 5000, "fp16")
    rows = {row["step"]: row for row in told.facts["growth"]}
    assert len(rows) <= 12
    assert {1, 2049, 5000} <= set(rows)
    for step, row in rows.items():
        assert (row["exact"], row["total"]) == (str(step), str(min(step, 2048)))
    assert rows[5000]["error_ulps"] == -2952 / 2  # an ulp of 2048 is 2


def test_cancellations_say_how_many_bits():
    # 1.25 and 1.5 lead with 2**0, 0.25 with 2**-2; 1024 with 2**10, and 1024 - 1023.5 is 2**-1.
    told = fp.explain.sum([1.5, -1.25, 1023.75, -1023.5], "fp16")
    found = {
        m["step"]: (m["events"], m["bits_cancelled"])
        for m in told.facts["milestones"]
        if "bits_cancelled" in m
    }
    assert found == {2: (["cancellation"], 2), 4: (["largest cancellation"], 11)}
    assert "11 leading bits cancel" in told
    told = fp.explain.sum([3, -3], "fp16")
    assert "all bits cancel" in told
    assert "cancellation" not in fp.explain.sum([8, -1], "fp16")  # 7: one bit less, as in any


def test_overflow_infinities_and_nan():
    told = fp.explain.sum([60000, 60000, -math.inf, 1, math.nan], "fp16")
    steps = {m["step"]: m["events"] for m in told.facts["milestones"]}
    assert steps == {2: ["inexact", "overflow", "infinite"], 3: ["invalid", "nan"]}
    assert "60000 + 60000 = 120000, which becomes inf" in told
    assert "infinities of opposite signs have no sum" in told
    assert told.facts["exact_sum"] is None
    assert told.facts["error_ulps"] is None
    told = fp.explain.sum([1, math.nan], "fp16")
    assert "the addend is NaN" in told
    assert lines_of(told)["terms"] == "2 numbers of fp16, all 1, 1 NaN"
    told = fp.explain.sum([1, math.inf], "fp16")
    assert "the addend is infinite: no overflow" in told


def test_what_holds_a_sum_beside_its_ulp_is_named():
    told = fp.explain.sum([448, 40, 40], "e4m3", saturation="finite")
    assert "448 is the end of e4m3: what lies beyond overflows to it" in told
    assert "they do not reckon with overflow" in told
    told = fp.explain.sum(
        [2.0**-15] * 3, "fp16", subnormals="ftz", accumulate="fp16", product="fp32"
    )
    assert "ftz: totals below 0.00006103515625 become 0" in told
    told = fp.explain.sum([2.0**-15] * 3, "fp16", subnormals="daz")
    assert "3 subnormal terms read as 0 by daz" in told
    told = fp.explain.sum([2.0**-15, 2.0**-16], "fp16")
    assert "below the smallest normal, 0.00006103515625" in told


def test_parts_are_named():
    told = fp.explain.sum([1] * 8192, "fp16", order="blocked:4096")
    # Each block stops at 2048, at its 2049th term.
    assert lines_of(told)["stopped"] == (
        "2 partial sums ended in swamped additions, the first in block 1 at step 2049, at 2048"
    )
    assert told.result == 4096
    assert told.facts["growth"][-1]["part"] == "block 2"
    told = fp.explain.sum([2048, 1, 1, 1], "fp16", order="pairwise:2")
    assert "the first swamped addition, in terms 1 to 2" in told
    told = fp.explain.sum([2048, 1], "fp16", order="pairwise:1")
    assert "where two halves are added: terms 1 to 2" in told
    told = fp.explain.sum([2048, 1, 1], "fp16", order="neumaier")
    assert "before corrections" in told
    told = fp.explain.sum([1] * 4, "fp16", order="tree:4", start=2048)
    assert "start" in lines_of(told)
    assert told.result == 2052
    told = fp.explain.sum([1], "fp16", order="blocked:1", start=2048)
    assert "where block 1 is added" in told


def test_terms_are_rounded_first_and_that_is_said():
    told = fp.explain.sum(["0.1", Fraction(1, 3), 1, 0.5], "fp16")
    assert "2 of them were no numbers of fp16: first rounded to it" in told
    assert told.facts["rounded_terms"] == 2
    # 0.1 is 1638 * 2**-14 (see test_a_tenth_in_fp16), 1/3 1365 * 2**-12: 1365.33.
    want = Fraction(1638, 2**14) + Fraction(1365, 2**12) + Fraction(3, 2)
    assert Fraction(told.facts["exact_sum"]) == want
    told = fp.explain.sum([1.001], "fp32", accumulate="e4m3")
    assert "1 term rounded to e4m3 before being added" in told
    told = fp.explain.sum([1, 2.0**-11], "fp16", accumulate="fp32")
    assert lines_of(told)["rounded"] == "1.00048828125 in fp32, rounded to fp16 at the end"


def test_chance_is_named_with_its_probability():
    told = fp.explain.sum([1, 2.0**-12], "fp16", rounding="stochastic", seed=3)  # a quarter up
    p = "1/4 (0.25)" if told.result > 1 else "3/4 (0.75)"
    assert f"which had probability {p}" in told
    assert lines_of(told)["chance"] == "seed 3, 24 random bits for each rounding"
    assert {
        fp.explain.sum([1, 2.0**-12], "fp16", rounding="stochastic", seed=s).result
        for s in range(20)
    } == {1, 1 + 2.0**-10}


@pytest.mark.parametrize("x", [[], [-0.0], [-0.0, -0.0], np.empty(0, np.float32)])
def test_nothing_and_zeros_sum_to_plus_zero(x):
    told = fp.explain.sum(x, "fp16")
    assert (told.result, math.copysign(1, told.result)) == (0, 1)
    assert told.facts["milestones"] == []
    assert lines_of(told)["error"] == "none: exact"


def test_terms_come_in_many_kinds():
    want = fp.explain.sum([1.5, 2.0], "fp16")
    for x in (
        (1.5, 2),
        ["1.5", "2"],
        np.float16([1.5, 2]),
        np.array([1.5, 2], object),
        fp.array([1.5, 2], "bf16"),
        iter([1.5, 2.0]),
        np.longdouble([1.5, 2]),
        np.array(["1.5", "2"]),
    ):
        assert fp.explain.sum(x, "fp16") == want
    assert fp.explain.sum(range(1, 4), "fp16").result == 6
    assert fp.explain.sum(np.int64([2**53 + 1]), "fp64").facts["rounded_terms"] == 1


def test_a_block_is_left_as_it_is():
    with fp.arithmetic(traps=["inexact", "overflow"], rounding="toward_zero") as ctx:
        told = fp.explain.sum([60000, "0.1", 60000], "fp16")
        assert ctx.flags == set()
    assert told.result == 65504
    assert told.splitlines()[0].endswith("toward_zero")
    with fp.trace() as t:
        fp.explain.sum([60000, "0.1", 60000], "fp16")
    assert t.to_dicts() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.explain.sum(np.ones((2, 2)), "fp16"), r"array of shape \(2, 2\); flatten it"),
        (lambda: fp.explain.sum(fp.array([[1.0]], "fp16"), "fp16"), r"array of shape \(1, 1\)"),
        (lambda: fp.explain.sum([[1, 2], [3]], "fp16"), r"one that holds \[1, 2\]"),
        (lambda: fp.explain.sum(3, "fp16"), "takes a sequence of numbers, got 3"),
        (lambda: fp.explain.sum("12", "fp16"), "takes a sequence of numbers, got '12'"),
        (lambda: fp.explain.sum(["a"], "fp16"), "'a' is not a number"),
        (lambda: fp.explain.sum([1, None], "fp16"), "takes one number or its text, got None"),
        (lambda: fp.explain.sum([1], "fp61"), "unknown format 'fp61'"),
        (lambda: fp.explain.sum([1], "fp16", order="kahn"), "unknown order 'kahn'; did you mean"),
        (lambda: fp.explain.sum([1], "fp16", rounding="up"), "unknown rounding 'up'"),
        (lambda: fp.explain.sum([1], "fp16", seed=-1), "seed must be an integer from 0"),
        (lambda: fp.explain.sum([1], "fp16", start="x"), "'x' is not a number"),
        (lambda: fp.explain.sum([math.nan], "e2m1"), "NaN cannot be stored in e2m1"),
        (
            lambda: fp.explain.sum(
                [1], "fp16", accumulate="fp16 kahan rounding=to_odd", rounding="to_odd"
            ),
            "says rounding; leave out rounding=",
        ),
        (
            lambda: fp.explain.sum(np.ones(sums.MOST_TERMS + 1), "fp16"),
            "follows at most 524288 terms by order 'sequential' step by step, got 524289",
        ),
    ],
)
def test_errors_say_what_and_what_is_allowed(call, message):
    with pytest.raises(fp.ArgumentError, match=message):
        call()
