"""layer_norm, rms_norm and their gradients: bits against the recipes, values against float64."""

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


def scale(recipe: Recipe, x, eps: float):
    v = recipe.mean(x, 1, squares=True)
    rounded = recipe.step("convert", (np.full((1, 1), eps), fp.FP64))
    return recipe.function("rsqrt", recipe.step("add", v, rounded))


def standardized(recipe, x, eps):
    d = recipe.step("subtract", x, recipe.mean(x, 1))
    return d, scale(recipe, d, eps)


def layer_norm(recipe, x, weight, bias, eps):
    y = recipe.step("multiply", *standardized(recipe, x, eps))
    if weight is not None:
        y = recipe.step("multiply", y, weight)
    return y if bias is None else recipe.step("add", y, bias)


def rms_norm(recipe, x, weight, bias, eps):
    y = recipe.step("multiply", x, scale(recipe, x, eps))
    return y if weight is None else recipe.step("multiply", y, weight)


def layer_norm_grad(recipe, x, weight, grad, eps, f):
    d, r = standardized(recipe, x, eps)
    n = recipe.step("multiply", d, r)
    g = grad if weight is None else recipe.step("multiply", grad, weight)
    a = recipe.mean(g, 1)
    b = recipe.mean(recipe.step("multiply", g, n), 1)
    u = recipe.step("subtract", g, a)
    w = recipe.step("multiply", n, b)
    dx = recipe.step("multiply", recipe.step("subtract", u, w), r)
    dw = recipe.finish(recipe.total(recipe.step("multiply", grad, n), 0), f, None)
    db = recipe.finish(recipe.total(grad, 0), f, None)
    return recipe.finish(dx, f, None), dw, db


def rms_norm_grad(recipe, x, weight, grad, eps, f):
    r = scale(recipe, x, eps)
    n = recipe.step("multiply", x, r)
    g = grad if weight is None else recipe.step("multiply", grad, weight)
    b = recipe.mean(recipe.step("multiply", g, n), 1)
    w = recipe.step("multiply", n, b)
    dx = recipe.step("multiply", recipe.step("subtract", g, w), r)
    dw = recipe.finish(recipe.total(recipe.step("multiply", grad, n), 0), f, None)
    return recipe.finish(dx, f, None), dw


# The shape of x, and what is normalized.
SHAPES = [((4,), (4,)), ((3, 4), (4,)), ((2, 2, 3), (2, 3)), ((2, 1), (1,)), ((2, 2, 3), 3)]


def rows(x: fp.Array, shape, f):
    return x.to_numpy().reshape(-1, math.prod(shape if isinstance(shape, tuple) else (shape,))), f


@given(data=st.data(), text=st.sampled_from(MODELS), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_each_is_its_recipe_step_by_step(data, text, seed):
    f, (whole, shape) = data.draw(st.sampled_from(FORMATS)), data.draw(st.sampled_from(SHAPES))
    x = data.draw(arrays(f, whole))
    inner = shape if isinstance(shape, tuple) else (shape,)
    mine = data.draw(st.sampled_from([layer_norm, rms_norm]))
    weight, bias = (
        data.draw(arrays(f, inner)) if data.draw(st.booleans()) else None for _ in range(2)
    )
    given_eps = data.draw(st.sampled_from([1e-5, 0.0, 0.1, 1e-9]))
    model, out = model_for(text, f, seed), data.draw(st.sampled_from([None, fp.FP16, fp.FP32]))
    recipe = Recipe(model)
    beside = [None if v is None else rows(v, shape, f) for v in (weight, bias)]
    want = recipe.finish(mine(recipe, rows(x, shape, f), *beside, given_eps), f, out)
    options = {"eps": given_eps, "accumulate": model, "out": out, "weight": weight}
    if mine is layer_norm:
        options["bias"] = bias
    got = getattr(fp, mine.__name__)(x, shape, **options)
    assert got.shape == whole
    assert_same(got, want, want)


@given(data=st.data(), text=st.sampled_from(MODELS), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_each_gradient_is_its_recipe_step_by_step(data, text, seed):
    f, (whole, shape) = data.draw(st.sampled_from(FORMATS)), data.draw(st.sampled_from(SHAPES))
    x, grad = data.draw(arrays(f, whole)), data.draw(arrays(f, whole))
    inner = shape if isinstance(shape, tuple) else (shape,)
    weight = data.draw(arrays(f, inner)) if data.draw(st.booleans()) else None
    model, mine = (
        model_for(text, f, seed),
        data.draw(st.sampled_from([layer_norm_grad, rms_norm_grad])),
    )
    beside = None if weight is None else rows(weight, shape, f)
    want = mine(Recipe(model), rows(x, shape, f), beside, rows(grad, shape, f), 1e-3, f)
    got = getattr(fp, mine.__name__)(x, shape, grad, weight, 1e-3, accumulate=model)
    assert [v.shape for v in got] == [whole] + [inner] * (len(want) - 1)
    for ours, theirs in zip(got, want, strict=True):
        assert_same(ours, theirs, theirs)


# -- closeness ------------------------------------------------------------------------------------------


@given(
    f=st.sampled_from([fp.FP16, fp.BF16, fp.FP32, fp.TF32]),
    numbers=st.lists(st.floats(0.25, 8), min_size=1, max_size=20),
    signs=st.integers(0, 2**20 - 1),
)
@settings(max_examples=100, deadline=None)
def test_rms_norm_is_within_the_bound_of_its_roundings(f, numbers, signs):
    """To nearest and without underflow, with u half an ulp of 1: the mean of K squares is off by a
    factor within (1 +- u)**(K + 1), t by one more, its root by the square root of that; the root's own
    rounding and the product's follow."""
    x = fp.array([v * (-1) ** (signs >> i & 1) for i, v in enumerate(numbers)], f)
    wide, u = x.to_numpy().astype(float), f.eps / 2
    want = wide / np.sqrt(np.mean(wide**2) + 2.0**-10)
    factor = (1 + u) ** 2 / (1 - u) ** ((len(numbers) + 2) / 2)
    bound = np.abs(want) * (factor - 1 + 1e-14)
    assert (np.abs(fp.rms_norm(x, len(numbers), eps=2.0**-10).to_numpy() - want) <= bound).all()


@given(
    f=st.sampled_from([fp.FP16, fp.BF16, fp.FP32, fp.TF32]),
    numbers=st.lists(st.floats(-8, 8), min_size=2, max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_layer_norm_is_within_the_bound_of_its_roundings(f, numbers):
    """To nearest: the mean is off by at most ((1 + u)**K - 1) times the mean of \\|x\\|, and each d by
    that and its own rounding. The rest follows from the ends of the intervals of v, t and r."""
    x, count = fp.array(numbers, f), len(numbers)
    wide, u, tiny, eps = x.to_numpy().astype(float), f.eps / 2, f.smallest_subnormal, 2.0**-4
    d = wide - wide.mean()
    shift = ((1 + u) ** count - 1) * np.abs(wide).mean() + tiny
    moved = shift + u * (np.abs(d) + shift)
    most, least = np.abs(d) + moved, np.maximum(np.abs(d) - moved, 0)
    # Each square may underflow, and so may the quotient.
    high = np.mean(most**2) * (1 + u) ** (count + 1) + 2 * tiny
    low = max(np.mean(least**2) * (1 - u) ** (count + 1) - 2 * tiny, 0)
    ends = [(1 + u) / np.sqrt((low + eps) * (1 - u)), (1 - u) / np.sqrt((high + eps) * (1 + u))]
    r = 1 / np.sqrt(np.mean(d**2) + eps)
    want = d * r
    bound = moved * max(ends) + np.abs(d) * max(abs(end - r) for end in ends)
    bound = bound + u * (np.abs(want) + bound) + tiny + 1e-14
    assert (np.abs(fp.layer_norm(x, count, eps=eps).to_numpy() - want) <= bound).all()


# -- by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp16", "bf16", "e5m2", "fp32", "fp64"])
def test_infinities_and_nan(name):
    x = fp.array([[1.0, INF, 2.0], [1.0, NAN, 2.0], [2.0, 2.0, 2.0]], name)
    # What PyTorch gives.
    eps = {"e5m2": 2.0**-10}.get(name, 1e-5)
    assert same(fp.layer_norm(x, 3, eps=eps), [[NAN] * 3, [NAN] * 3, [0.0] * 3]).all()
    want = [[0.0, NAN, 0.0], [NAN] * 3]
    assert same(fp.rms_norm(x, 3).to_numpy()[:2], want).all()
    assert fp.rms_norm(fp.array([0.0, -0.0], name), 2).tolist() == [0, 0]


def test_the_rounded_mean_of_equal_elements_need_not_be_that_element():
    # E5M2: 3 + 3 + 3 is 8 (9 is a tie, to even), a third of that 2.5; so d is 0.5 everywhere.
    assert fp.layer_norm(fp.array([3.0] * 3, "e5m2"), 3, eps=0.0).tolist() == [1.0] * 3
    assert fp.layer_norm(fp.array([3.0] * 3, "e5m2"), 3, accumulate="fp32").tolist() == [0.0] * 3


def test_nothing():
    for norm in (fp.layer_norm, fp.rms_norm):
        assert norm(np.zeros((3, 0), np.float16), 0).shape == (3, 0)
        assert norm(np.zeros((0, 3), np.float16), 3).shape == (0, 3)
    none = np.zeros((0, 3), np.float16)
    assert [v.tolist() for v in fp.layer_norm_grad(none, 3, none)] == [[], [0.0] * 3, [0.0] * 3]
    none = np.zeros((3, 0), np.float16)
    assert [v.shape for v in fp.rms_norm_grad(none, 0, none)] == [(3, 0), (0,)]


def test_the_variance_overflows_in_fp16():
    x = np.float16([16.0, -16.0] * 127 + [15.0, -15.0])
    assert abs(fp.layer_norm(x, 256).tolist()[0]) > 0.99  # the sum is 65474
    x = np.float16([16.0, -16.0] * 128)
    assert fp.layer_norm(x, 256).tolist() == [0.0, -0.0] * 128  # 65536 is beyond
    assert fp.layer_norm(x, 256, eps=0.0, accumulate="fp32").tolist() == [1.0, -1.0] * 128
    limit = fp.layer_norm(x, 256, accumulate="fp16 sequential saturation=finite").tolist()
    assert limit[0] > 0.99  # the largest value, 65504, instead


def test_eps_is_rounded_to_the_format():
    # FP16: 1e-5 is 168 * 2**-24, and t of equal elements is that.
    zero = np.float16([0.0, 0.0])
    assert fp.rms_norm(zero, 2, eps=1e-5).tolist() == [0.0, 0.0]
    tiny = np.float16([2.0**-13, 2.0**-13])  # squares of 2**-26 are +0, so t is eps alone
    r = float(np.float16(1 / math.sqrt(168 * 2.0**-24)))
    assert fp.rms_norm(tiny, 2, eps=1e-5).tolist() == [float(np.float16(r * 2.0**-13))] * 2
    # E4M3: +0, because half its smallest number is 2**-10; equal elements are then 0 * inf.
    same_ones = fp.array([3.0, 3.0], "e4m3")
    assert same(fp.layer_norm(same_ones, 2, eps=2.0**-10), [NAN, NAN]).all()
    assert fp.layer_norm(same_ones, 2, eps=1.01 * 2.0**-10).tolist() == [0.0, 0.0]
    # The infinite r of E5M2, which has infinities, comes to the same; saturation makes it 57344.
    assert same(fp.layer_norm(fp.array([3.0, 3.0], "e5m2"), 2, eps=0.0), [NAN, NAN]).all()
    finite = fp.layer_norm(same_ones, 2, eps=0.0, accumulate="e4m3 sequential saturation=finite")
    assert finite.tolist() == [0.0, 0.0]
    # A subnormal eps is read as zero under daz.
    daz = fp.layer_norm(np.float16([3.0, 3.0]), 2, accumulate="fp16 sequential subnormals=daz")
    assert same(daz, [NAN, NAN]).all()
    with fp.trace() as t:
        fp.layer_norm(fp.array([1.0, 3.0], "e4m3"), 2)
    assert t.count("flushed_to_zero", op="convert") == 1


def test_the_default_eps_of_rms_norm_is_that_of_the_intermediate_values():
    x = np.float16([2.0**-6, 2.0**-6])
    got = fp.rms_norm(x, 2).tolist()[0]
    assert got == float(np.float16(2.0**-6 * float(np.float16((2.0**-12 + 2.0**-10) ** -0.5))))
    wide = fp.rms_norm(x, 2, accumulate="fp32").tolist()[0]
    assert wide == float(np.float16(2.0**-6 / math.sqrt(2.0**-12 + 2.0**-23)))


def zeros(*shape, dtype=np.float16):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fp.layer_norm(zeros(2, 3), 2),
            "layer_norm over (2,) takes arrays whose last axes have this shape, got (2, 3)",
        ),
        (
            lambda: fp.rms_norm(zeros(3), (2, 3)),
            "rms_norm over (2, 3) takes arrays whose last axes have this shape, got (3,)",
        ),
        (lambda: fp.layer_norm(zeros(3), ()), "normalized_shape must be an integer of at least 0"),
        (lambda: fp.layer_norm(zeros(3), 3.0), "or several, got 3.0"),
        (
            lambda: fp.layer_norm(zeros(2, 3), 3, zeros(2)),
            "weight of layer_norm must have shape (3,), got (2,)",
        ),
        (
            lambda: fp.layer_norm(zeros(3), 3, None, zeros(3, dtype=np.float32)),
            "bias of layer_norm is fp32 beside fp16: operands must share a format",
        ),
        (
            lambda: fp.rms_norm_grad(zeros(2, 3), 3, zeros(3)),
            "grad_output of rms_norm_grad must have shape (2, 3), got (3,)",
        ),
        (lambda: fp.layer_norm(zeros(3), 3, eps=-1.0), "eps must be a finite number of at least 0"),
        (lambda: fp.layer_norm(zeros(3), 3, eps=None), "at least 0, got None"),
        (lambda: fp.rms_norm(zeros(3), 3, eps=INF), "at least 0, got inf"),
        (
            lambda: fp.rms_norm(zeros(3), 3, accumulate="e8m0"),
            "rms_norm needs zero and negative numbers, e8m0 does not have both",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)
