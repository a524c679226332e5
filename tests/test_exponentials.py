"""softmax and its kin: bits against the recipe in exact arithmetic, values against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same, same
from recipes import FORMATS, MODELS, Recipe, arrays, model_for

import fpemu as fp

INF, NAN = math.inf, math.nan


def largest(values: np.ndarray, axis: int) -> np.ndarray:
    """By Python's comparisons, one row at a time."""
    rows = np.moveaxis(values, axis, -1)
    out = np.empty(rows.shape[:-1])
    for place in np.ndindex(out.shape):
        row = rows[place].tolist()
        out[place] = NAN if any(map(math.isnan, row)) else max(row) + 0.0
    return np.expand_dims(out, axis)


def exponentials(recipe: Recipe, x, f, axis, subtract_max, m):
    values = (x, f)
    if subtract_max:
        d = recipe.step("subtract", values, (m, f))
    else:
        d = values if f == recipe.format else recipe.step("convert", values)
    e = recipe.function("exp", d)
    return d, e, recipe.total(e, axis)


def softmax(recipe, x, f, axis, subtract_max):
    m = largest(x, axis)
    _, e, s = exponentials(recipe, x, f, axis, subtract_max, m)
    return recipe.step("divide", e, s)


def log_softmax(recipe, x, f, axis, subtract_max):
    m = largest(x, axis)
    d, _, s = exponentials(recipe, x, f, axis, subtract_max, m)
    return recipe.step("subtract", d, recipe.function("log", s))


def logsumexp(recipe, x, f, axis, subtract_max):
    m = largest(x, axis)
    m = np.where(np.isinf(m), 0.0, m)
    _, _, s = exponentials(recipe, x, f, axis, subtract_max, m)
    y = recipe.function("log", s)
    if subtract_max:
        y = recipe.step("add", y, (m, f))
    return np.squeeze(y[0], axis), y[1]


def softmax_grad(recipe, y, g, f, axis):
    t = recipe.step("multiply", (g, f), (y, f))
    d = recipe.step("subtract", (g, f), recipe.total(t, axis))
    return recipe.step("multiply", (y, f), d)


def log_softmax_grad(recipe, y, g, f, axis):
    s = recipe.total((g, f), axis)
    p = recipe.function("exp", (y, f))
    return recipe.step("subtract", (g, f), recipe.step("multiply", p, s))


shapes = st.sampled_from([(4,), (1,), (2, 3), (3, 1), (2, 3, 2)])


@given(data=st.data(), text=st.sampled_from(MODELS), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_each_is_its_recipe_step_by_step(data, text, seed):
    f, shape = data.draw(st.sampled_from(FORMATS)), data.draw(shapes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x, model = data.draw(arrays(f, shape)), model_for(text, f, seed)
    recipe, out = Recipe(model), data.draw(st.sampled_from([None, fp.FP16, fp.FP32]))
    mine = data.draw(st.sampled_from([softmax, log_softmax, logsumexp]))
    shifted = data.draw(st.sampled_from([True, True, False]))
    want = recipe.finish(mine(recipe, x.to_numpy(), f, axis, shifted), f, out)
    ours = getattr(fp, mine.__name__)
    got = ours(x, axis, subtract_max=shifted, accumulate=model, out=out)
    assert got.format == (out or model.out or f)
    assert got.shape == want.shape
    assert_same(got, want, want)


@given(data=st.data(), text=st.sampled_from(MODELS), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_each_gradient_is_its_recipe_step_by_step(data, text, seed):
    f, shape = data.draw(st.sampled_from(FORMATS)), data.draw(shapes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    y, g = data.draw(arrays(f, shape)), data.draw(arrays(f, shape))
    model = model_for(text, f, seed)
    recipe, mine = Recipe(model), data.draw(st.sampled_from([softmax_grad, log_softmax_grad]))
    want = recipe.finish(mine(recipe, y.to_numpy(), g.to_numpy(), f, axis), f, None)
    got = getattr(fp, mine.__name__)(y, g, axis, accumulate=model)
    assert_same(got, want, want)


# -- closeness ------------------------------------------------------------------------------------------


@given(
    f=st.sampled_from([fp.FP16, fp.BF16, fp.FP32, fp.TF32]),
    numbers=st.lists(st.floats(-8, 8), min_size=1, max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_softmax_is_within_the_bound_of_its_roundings(f, numbers):
    """To nearest, with u half an ulp of 1: each d is off by a factor within 1 +- u, so exp(d) by one
    within exp(+-D u), D being the largest \\|d\\|, and rounding makes it 1 +- u more; the sum of K
    positive terms by (1 +- u)**(K - 1) more; the quotient by one more. Underflow adds at most half the
    smallest number to each e, and to the quotient; the sum is at least 1."""
    x = fp.array(numbers, f)
    wide = x.to_numpy().astype(float)
    u, eta, count = f.eps / 2, f.smallest_subnormal, len(numbers)
    e = np.exp(wide - wide.max())
    want = e / e.sum()
    reach = (wide.max() - wide.min()) * u
    factor = math.exp(2 * reach) * (1 + u) ** 2 / (1 - u) ** count
    bound = want * (factor * (1 + count * eta) - 1) + 2 * eta + 1e-15
    got = fp.softmax(x).to_numpy()
    assert (np.abs(got - want) <= bound).all()
    # The logarithm of that sum: its relative error becomes absolute, and three roundings follow.
    total = np.log(e.sum())
    lost = math.log(math.exp(reach) * (1 + u) / (1 - u) ** count) + count * eta
    slack = lambda y: lost + 2 * u * (np.abs(total) + np.abs(y) + 16) * (1 + u) + eta + 1e-14  # noqa: E731
    want = wide - wide.max() - total
    assert (np.abs(fp.log_softmax(x).to_numpy() - want) <= slack(want)).all()
    want = total + wide.max()
    assert np.abs(fp.logsumexp(x).to_numpy() - want) <= slack(want)


# -- by hand ----------------------------------------------------------------------------------------------

# What PyTorch gives: softmax, log_softmax, logsumexp.
ROWS = [
    ([-INF, -INF], [NAN, NAN], [NAN, NAN], -INF),
    ([INF, 1.0], [NAN, NAN], [NAN, NAN], INF),
    ([INF, -INF], [NAN, NAN], [NAN, NAN], INF),
    ([NAN, 1.0], [NAN, NAN], [NAN, NAN], NAN),
    ([NAN, INF], [NAN, NAN], [NAN, NAN], NAN),
    ([-INF, 0.0], [0.0, 1.0], [-INF, 0.0], 0.0),
    ([5.0], [1.0], [0.0], 5.0),
]


@pytest.mark.parametrize("name", ["fp16", "bf16", "e5m2", "fp32", "fp64"])
@pytest.mark.parametrize(("row", "soft", "log_soft", "log_sum"), ROWS)
def test_infinities_and_nan(name, row, soft, log_soft, log_sum):
    x = fp.array(row, name)
    assert same(fp.softmax(x), soft).all()
    assert same(fp.log_softmax(x), log_soft).all()
    assert same(fp.logsumexp(x), log_sum).all()


def test_nothing():
    none = np.zeros((3, 0), np.float16)
    assert fp.softmax(none).shape == fp.log_softmax(none).shape == (3, 0)
    assert fp.softmax(none, 0).shape == (3, 0)
    assert fp.logsumexp(none).tolist() == [-INF] * 3
    assert fp.logsumexp(none, 0).shape == (0,)
    assert fp.softmax(none, out="e4m3").format == fp.E4M3
    e4m3 = fp.array(none, "e4m3")
    assert all(math.isnan(v) for v in fp.logsumexp(e4m3).tolist())  # no infinity there
    assert fp.logsumexp(e4m3, accumulate="e4m3 sequential saturation=finite").tolist() == [-448] * 3
    assert fp.softmax_grad(none, none).shape == fp.log_softmax_grad(none, none).shape == (3, 0)


def test_exp_overflows_in_fp16_without_the_maximum():
    assert (
        fp.softmax(np.float16([11.0625, 11.0625]), subtract_max=False).tolist()[0] == 0.0
    )  # sum inf
    edge = np.float16([11.0859375, -30.0])  # exp(11.0859375) = 65247, exp(11.09375) = 65759
    assert fp.softmax(edge, subtract_max=False).tolist() == [1.0, 0.0]
    over = np.float16([11.09375, -30.0])
    assert same(fp.softmax(over, subtract_max=False), [NAN, 0.0]).all()
    assert fp.softmax(over).tolist() == [1.0, 0.0]
    assert fp.logsumexp(over, subtract_max=False).tolist() == INF
    assert fp.log_softmax(over, subtract_max=False).tolist() == [-INF, -INF]
    under = np.float16([-18.0, -18.0])
    assert same(fp.softmax(under, subtract_max=False), [NAN, NAN]).all()
    assert fp.softmax(under).tolist() == [0.5, 0.5]
    assert fp.softmax(over, subtract_max=False, accumulate="fp32").tolist() == [1.0, 0.0]


def test_exp_underflows_below_the_maximum():
    f16 = lambda d: fp.softmax(np.float16([0.0, d])).tolist()[1]  # noqa: E731
    # 2**-25, half the smallest number, is exp(-17.3287): numbers of FP16 on both sides.
    assert (f16(-17.328125), f16(-17.34375)) == (2.0**-24, 0.0)
    e4m3 = fp.softmax(fp.array([0.0, -6.5, -7.0], "e4m3")).tolist()
    assert e4m3 == [1.0, 2.0**-9, 0.0]  # 2**-10 is exp(-6.93)
    with fp.trace() as t:
        fp.softmax(np.float16([0.0, -30.0]))
    assert t.count("underflow") >= 1


def test_differences_beyond_a_format_without_infinity():
    x = fp.array([448.0, -448.0], "e4m3")
    assert same(fp.softmax(x), [NAN, NAN]).all()
    assert fp.softmax(x, accumulate="e4m3 sequential saturation=finite").tolist() == [1.0, 0.0]
    assert fp.softmax(x, accumulate="fp32").tolist() == [1.0, 0.0]


def test_the_sum_is_by_the_model():
    zeros = np.zeros(4096, np.float16)
    assert fp.softmax(zeros).tolist()[0] == 2.0**-11  # the sum stops at 2048
    assert fp.softmax(zeros, order="pairwise").tolist()[0] == 2.0**-12
    assert fp.softmax(zeros, accumulate="fp32").tolist()[0] == 2.0**-12


def test_random_steps_draw_independently_and_again_the_same():
    # d is -1 exactly, and e, s and y are the steps that round.
    x = np.zeros((400, 3), np.float16)
    x[:, 1:] = -1
    model = "fp16 sequential rounding=stochastic seed=3"
    y = fp.softmax(x, accumulate=model).to_numpy()
    assert y.tolist() == fp.softmax(x, accumulate=model).to_numpy().tolist()
    assert np.unique(y[:, 1]).size > 2
    assert (y[:, 1] != y[:, 2]).any()
    with fp.arithmetic(rounding="stochastic", seed=3):
        one, two = fp.softmax(x).to_numpy(), fp.softmax(x).to_numpy()
    assert (one != two).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fp.softmax(np.float16([1.0]), 1), "axis 1 is out of range"),
        (lambda: fp.softmax(np.float16([1.0]), None), "axis must be one integer"),
        (
            lambda: fp.softmax(np.float16(1.0)),
            "axis -1 is out of range for an array of 0 dimensions",
        ),
        (
            lambda: fp.logsumexp(fp.array([1.0], "e8m0")),
            "logsumexp needs zero and negative numbers",
        ),
        (
            lambda: fp.softmax_grad(np.float16([1.0]), np.float16([1.0, 2.0])),
            "grad_output of softmax_grad must have shape (1,), got (2,)",
        ),
        (
            lambda: fp.log_softmax_grad(np.float16([1.0]), np.float32([1.0])),
            "grad_output of log_softmax_grad is fp32 beside fp16: operands must share a format",
        ),
        (lambda: fp.softmax(np.float16([1.0]), order="random"), "unknown order 'random'"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_positive_numbers_of_a_format_without_zero():
    x = fp.array([1.0, 4.0, 4.0], "e8m0")
    got = fp.logsumexp(x, accumulate="fp32", out="fp32").item()
    assert got == pytest.approx(4 + math.log(2 + math.exp(-3)), rel=1e-6)
