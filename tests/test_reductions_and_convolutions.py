"""Means, variances, contractions and convolutions, against exact arithmetic and plain loops."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same

import fpemu as fp
from fpemu import exact

FORMATS = [fp.FP16, fp.BF16, fp.E4M3, fp.FP32, fp.FP64]


def values(rng, f: fp.Format, *shape: int) -> np.ndarray:
    return fp.quantize(rng.normal(size=shape), f)


@given(
    f=st.sampled_from(FORMATS),
    numbers=st.lists(st.floats(-8, 8), min_size=1, max_size=12),
    accumulate=st.sampled_from([None, "fp32", "bf16 blocked:3", "fp16 kahan", "fp32 exact"]),
)
@settings(max_examples=60, deadline=None)
def test_mean_is_the_sum_divided_by_an_exact_integer(f, numbers, accumulate):
    x = fp.array(numbers, f)
    model = fp.Accumulator.parse(accumulate or f"{f.name} sequential")
    total = fp.sum(x, accumulate=accumulate, out=model.format).item()
    in_model = exact.round_to(Fraction(total) / len(numbers), model.format)
    assert fp.mean(x, accumulate=accumulate).item() == exact.round_to(in_model, f)


def test_means_of_more_terms_than_the_format_has_numbers_for():
    x = np.full(4097, 1.0, np.float16)  # 4097 is no number of FP16, and its sum stops at 2048
    assert fp.mean(x).item() == float(np.float16(2048 / 4097))
    assert fp.mean(x, accumulate="fp32").item() == 1.0
    assert math.isnan(fp.mean(fp.array([], "fp16")).item())
    assert fp.mean(np.ones((2, 3), np.float16), 1).tolist() == [1.0, 1.0]


def test_variance_in_two_passes_each_step_rounded():
    f = fp.FP16
    x = fp.array([1.0, 2.5, 3.0, 7.0, 0.1], f).tolist()
    total = exact.total(x, f)
    mean = exact.round_to(Fraction(total) / 5, f)
    squares = 0.0
    for v in x:
        d = exact.subtract(v, mean, f)
        squares = exact.add(squares, exact.multiply(d, d, f), f)
    assert fp.var(fp.array(x, f)).item() == exact.round_to(Fraction(squares) / 5, f)
    assert fp.var(fp.array(x, f), ddof=1).item() == exact.round_to(Fraction(squares) / 4, f)
    assert math.isnan(fp.var(fp.array([1.0], f), ddof=1).item())
    assert fp.var(fp.array([x, x], f), 1).tolist() == [fp.var(fp.array(x, f)).item()] * 2
    assert np.var(fp.array([x], f), axis=1, keepdims=True).shape == (1, 1)
    assert np.mean(fp.array([x], f), axis=1, keepdims=True).tolist() == [[mean]]


def test_norm_neither_scales_nor_hides_overflow():
    assert fp.norm(np.float16([3, 4])).item() == 5
    assert fp.norm(np.float16([300, 400])).item() == math.inf
    assert fp.norm(np.float16([300, 400]), accumulate="fp32").item() == 500
    assert fp.norm(np.float16([[3, 4], [6, 8]]), 1).tolist() == [5, 10]


def test_running_sums():
    x = np.float16([[1, 2], [2048, 1], [1, 1]])
    assert fp.cumsum(x, 0).tolist() == [[1, 2], [2048, 3], [2048, 4]]  # 2049 is a tie
    assert fp.cumsum(x, 0, accumulate="fp32").tolist() == [[1, 2], [2048, 3], [2050, 4]]
    assert fp.cumsum(x).tolist() == [1, 3, 2052, 2052, 2052, 2052]  # 2051 is a tie that goes up
    assert fp.cumsum(x, 1).tolist() == [[1, 3], [2048, 2048], [1, 2]]
    with pytest.raises(fp.ArgumentError, match="cumsum takes plain sequential models"):
        fp.cumsum(x, order="kahan")


# -- contractions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subscripts",
    ["ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij,kj->ki", "i,i->", "i,j->ij", "abc,cb->a"],
)
def test_einsum_arranges_as_numpy_does(subscripts):
    rng = np.random.default_rng(0)
    size = {"a": 2, "b": 3, "c": 4, "i": 2, "j": 3, "k": 4}
    left, right = subscripts.partition("->")[0].split(",")
    a, b = (
        rng.integers(-3, 4, [size[i] for i in part]).astype(np.float32) for part in (left, right)
    )
    want = np.einsum(subscripts, a, b)
    assert fp.einsum(subscripts, a, b).tolist() == want.tolist()
    assert np.einsum(subscripts, fp.array(a, "fp16"), fp.array(b, "fp16")).tolist() == want.tolist()


def test_einsum_rounds_each_step_in_the_order_of_the_first_operand():
    a = fp.array([[2048.0, 1.0], [1.0, 1.0]], "fp16")
    ones = fp.array(np.ones((2, 2)), "fp16")
    assert fp.einsum("ij,ij->", a, ones).item() == 2048
    assert fp.einsum("ij,ij->", a, ones, accumulate="fp32", out="fp32").item() == 2051


@pytest.mark.parametrize(
    ("subscripts", "message"),
    [
        ("ij,jk->i", "sums over k of one operand alone"),
        ("ii,ij->j", "repeats an index in its first operand"),
        ("ij,jk,kl->il", "takes two operands"),
        ("ijk,jk->i", "3 indices for a first operand of 2 dimensions"),
        ("ij,jk->iz", "asks for an index twice, or for an unknown one"),
        ("ij,ik->jk", "index 'i' has lengths"),
    ],
)
def test_bad_subscripts_are_refused(subscripts, message):
    a, b = np.zeros((2, 3), np.float16), np.zeros((3, 4), np.float16)
    with pytest.raises(fp.ArgumentError) as caught:
        fp.einsum(subscripts, a, b)
    assert message in str(caught.value)


# -- convolutions -----------------------------------------------------------------------------------------


def plain_conv2d(x, w, f, stride, padding, dilation, groups):
    """The loop one would write, by the reference, product by product."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    n, _, h, v = x.shape
    o, each, kh, kw = w.shape
    high = (h - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    wide = (v - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((n, o, high, wide))
    for i, j, p, q in np.ndindex(out.shape):
        first = j // (o // groups) * each
        total = 0.0
        for u, s, t in itertools.product(range(each), range(kh), range(kw)):
            pixel = x[
                i, first + u, p * stride[0] + s * dilation[0], q * stride[1] + t * dilation[1]
            ]
            total = exact.add(total, exact.multiply(float(pixel), float(w[j, u, s, t]), f), f)
        out[i, j, p, q] = total
    return out


@pytest.mark.parametrize("name", ["fp16", "bf16", "e4m3"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 1), 2), ((1, 2), (2, 0), (2, 1), 1)],
)
def test_convolution_is_the_loop(name, stride, padding, dilation, groups):
    f = fp.as_format(name)
    rng = np.random.default_rng(1)
    x, w = values(rng, f, 2, 4, 5, 6), values(rng, f, 4, 4 // groups, 3, 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    got = fp.conv2d(fp.array(x, f), fp.array(w, f), **options)
    want = plain_conv2d(x, w, f, stride, padding, dilation, groups)
    assert_same(got.to_numpy(), want, want)


def test_convolutions_of_sequences_and_transposed_ones():
    rng = np.random.default_rng(2)
    x, w = values(rng, fp.FP16, 2, 3, 8), values(rng, fp.FP16, 4, 3, 3)
    got = fp.conv1d(fp.array(x, "fp16"), fp.array(w, "fp16"), stride=2, padding=1)
    want = plain_conv2d(x[:, :, None], w[:, :, None], fp.FP16, (1, 2), (0, 1), (1, 1), 1)
    assert_same(got.to_numpy(), want[:, :, 0], want)
    # Transposed: each pixel stamps the kernel, multiplied by it; small integers are exact.
    x = rng.integers(-2, 3, (2, 2, 3, 4)).astype(np.float32)
    w = rng.integers(-2, 3, (2, 3, 3, 2)).astype(np.float32)
    want = np.zeros((2, 3, (3 - 1) * 2 + 3, (4 - 1) * 2 + 2))
    for n, c, i, j in np.ndindex(x.shape):
        want[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2] += x[n, c, i, j] * w[c]
    got = fp.conv_transpose2d(fp.array(x, "fp16"), fp.array(w, "fp16"), stride=2)
    assert got.tolist() == want.tolist()
    got = fp.conv_transpose2d(
        fp.array(x, "fp16"), fp.array(w, "fp16"), stride=2, padding=(1, 0), output_padding=1
    )
    grown = np.pad(want, ((0, 0), (0, 0), (0, 1), (0, 1)))[:, :, 1:-1]
    assert got.tolist() == grown.tolist()


def test_convolutions_take_every_model():
    ones = np.ones((1, 64, 8, 8), np.float16)
    w = np.ones((1, 64, 8, 8), np.float16)
    assert fp.conv2d(ones, w).item() == 2048
    assert fp.conv2d(ones, w, order="pairwise").item() == 4096
    assert fp.conv2d(ones, w, accumulate="fp32", out="fp32").item() == 4096
    stochastic = "fp16 sequential rounding=stochastic seed=1"
    two = fp.conv2d(np.concatenate([ones, ones]), w, accumulate=stochastic).tolist()
    assert two[0] != two[1]  # images draw independently
    assert two == fp.conv2d(np.concatenate([ones, ones]), w, accumulate=stochastic).tolist()


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((1, 3, 4), (1, 3, 2, 2), {}, "takes images (N, C, H, W)"),
        ((1, 3, 4, 4), (1, 2, 2, 2), {}, "take 2 channels, the images have 3"),
        (
            (1, 3, 4, 4),
            (1, 3, 5, 2),
            {},
            "the kernel spans 5 x 2, more than the padded images of 4 x 4",
        ),
        ((1, 3, 4, 4), (1, 3, 2, 2), {"stride": 0}, "stride must be an integer of at least 1"),
        (
            (1, 3, 4, 4),
            (1, 3, 2, 2),
            {"padding": (1, 2, 3)},
            "padding must be an integer of at least 0",
        ),
        (
            (1, 4, 4, 4),
            (3, 2, 2, 2),
            {"groups": 2},
            "groups must divide the 4 channels and the 3 filters",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, w, options, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.conv2d(np.zeros(x, np.float16), np.zeros(w, np.float16), **options)
    assert message in str(caught.value)
    with pytest.raises(fp.ArgumentError, match="operands must share a format"):
        fp.conv2d(np.zeros((1, 1, 2, 2), np.float16), np.zeros((1, 1, 2, 2), np.float32))


def test_no_filters_and_no_degrees_of_freedom():
    x = np.zeros((1, 2, 3, 3), np.float16)
    assert fp.conv2d(x, np.zeros((0, 2, 2, 2), np.float16)).shape == (1, 0, 2, 2)
    assert math.isnan(fp.var(np.float16([1, 2]), ddof=2).item())
    assert math.isnan(fp.var(np.float16([1, 2]), ddof=5).item())
