"""Gradients of convolutions: bits against loops of the exact reference, in the order they promise."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_same

import fpemu as fp
from fpemu import Accumulator
from fpemu.accumulation.run import filled
from fpemu.chance import Chance
from fpemu.exact import accumulation as reference
from fpemu.linalg import patches

MODELS = [
    "{f} sequential",
    "fp32 sequential product=exact",
    "{f} permuted:3",
    "{f} pairwise:2",
    "{f} blocked:3",
    "{f} split:2",
    "{f} tree:3",
    "{f} ring:3",
    "bf16 fabsum:2",
    "{f} kahan",
    "{f} neumaier correction=fp32",
    "{f} exact",
    "{f} sequential promote=fp32@3",
    "{f} sequential round_every=e5m2@4",
    "{f} sequential rounding=toward_negative",
    "{f} sequential rounding=toward_zero saturation=finite subnormals=daz",
]


@dataclasses.dataclass(frozen=True)
class Case:
    """A convolution of small images; sizes of lists are (rows, columns)."""

    f: fp.Format
    count: int
    channels: int
    filters: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    seed: int

    @property
    def options(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    def result(self) -> tuple[int, int]:
        """Rows and columns of the convolution, by the formula of its definition."""
        high, wide = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                self.size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return high, wide

    def transposed(self, more) -> tuple[int, int]:
        """Rows and columns of the transposed convolution."""
        high, wide = (
            (n - 1) * s - 2 * p + d * (k - 1) + m + 1
            for n, p, d, k, s, m in zip(
                self.size, self.padding, self.dilation, self.kernel, self.stride, more, strict=True
            )
        )
        return high, wide

    def draw(self, number: int, *shape: int) -> np.ndarray:
        """Values with both zeros and now and then an infinity among them."""
        rng = np.random.default_rng((self.seed, number))
        x = rng.normal(size=shape)
        x[rng.random(shape) < 0.2] = 0.0
        x[rng.random(shape) < 0.1] = -0.0
        if self.f.has_inf and self.seed % 5 == 0:
            x[rng.random(shape) < 0.03] = math.inf
        return fp.quantize(x, self.f)


@st.composite
def cases(draw, f=None) -> Case:
    two = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2]))
    return Case(
        f or draw(st.sampled_from([fp.FP16, fp.E4M3])),
        draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(two(1, 5)),
        draw(two(1, 3)),
        draw(two(1, 3)),
        draw(two(0, 3)),
        draw(two(1, 2)),
        groups,
        draw(st.integers(0, 999)),
    )


def summed(terms, f, model, index, size, chance):
    """One element by the reference: `terms` are pairs of numbers."""
    decide = (lambda n: chance.derived(n).away(index)) if model.rounding == "stochastic" else None
    pairs = [((float(a), f), (float(b), f)) for a, b in terms]
    return reference.accumulate(pairs, model, decide=decide, element=(index, size))


def by_loop(shape, terms_of, f, model, chance_of, place_of):
    """All elements of a result of this `shape`: at place i the sum of ``terms_of(i)``; `place_of` says
    which element of how many it is."""
    out = np.zeros(shape)
    for place in np.ndindex(shape):
        index, size = place_of(place)
        out[place] = summed(terms_of(place), f, model, index, size, chance_of(place))
    return out


def input_gradient(case: Case, w, grad, size, f, model):
    """Over filters, then kernel rows and columns from the last to the first; +0 where none reaches."""
    o_each, c_each = grad.shape[1] // case.groups, w.shape[1]
    (kh, kw), (high, wide) = case.kernel, grad.shape[2:]

    def terms(place):
        n, c, y, x = place
        group, channel = divmod(c, c_each)
        for o in range(group * o_each, (group + 1) * o_each):
            for i, j in itertools.product(reversed(range(kh)), reversed(range(kw))):
                row, left = divmod(y + case.padding[0] - i * case.dilation[0], case.stride[0])
                column, over = divmod(x + case.padding[1] - j * case.dilation[1], case.stride[1])
                reached = left == over == 0 and 0 <= row < high and 0 <= column < wide
                yield w[o, channel, i, j], grad[n, o, row, column] if reached else 0.0

    shape = (len(grad), c_each * case.groups, *size)
    place = _in_image(shape, case.groups)
    return by_loop(shape, terms, f, model, _chance_of_image(model, c_each), place)


def weight_gradient(case: Case, x, above, f, model):
    """Over images, then rows and columns of `above`; the padding of `x` is zeros."""
    o_each, c_each = above.shape[1] // case.groups, x.shape[1] // case.groups
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in case.padding)))

    def terms(place):
        o, c, i, j = place
        channel = o // o_each * c_each + c
        for n, p, q in np.ndindex(len(above), *above.shape[2:]):
            row = p * case.stride[0] + i * case.dilation[0]
            column = q * case.stride[1] + j * case.dilation[1]
            yield above[n, o, p, q], padded[n, channel, row, column]

    shape = (above.shape[1], c_each, *case.kernel)
    whole = math.prod(shape) // case.groups

    def place(where):
        return int(np.ravel_multi_index(where, shape)) % whole, whole

    def chance(where):
        return Chance(model.seed, model.random_bits).derived(where[0] // o_each)

    return by_loop(shape, terms, f, model, chance, place)


def convolution(case: Case, x, w, f, model, size):
    """Over channels, kernel rows and columns."""
    o_each, c_each = w.shape[0] // case.groups, w.shape[1]
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in case.padding)))

    def terms(place):
        n, o, p, q = place
        for c, i, j in np.ndindex(w.shape[1:]):
            row = p * case.stride[0] + i * case.dilation[0]
            column = q * case.stride[1] + j * case.dilation[1]
            yield w[o, c, i, j], padded[n, o // o_each * c_each + c, row, column]

    shape = (len(x), w.shape[0], *size)
    place = _in_image(shape, case.groups)
    return by_loop(shape, terms, f, model, _chance_of_image(model, o_each), place)


def _in_image(shape, groups):
    whole = math.prod(shape[1:]) // groups
    return lambda place: (int(np.ravel_multi_index(place[1:], shape[1:])) % whole, whole)


def _chance_of_image(model, each):
    def chance(place):
        seed = Chance(model.seed).derived(place[0]).seed + int(place[1]) // each
        return Chance(seed % 2**64, model.random_bits)

    return chance


def model_for(text: str, f: fp.Format, seed: int = 0) -> Accumulator:
    model = filled(Accumulator.parse(text.format(f=f.name)))
    return dataclasses.replace(model, seed=seed)


texts = st.sampled_from([*MODELS, "{f} sequential rounding=stochastic random_bits=5"])
fast = settings(max_examples=60, deadline=None)


@given(case=cases(), text=texts)
@fast
def test_the_input_gradient_is_the_loop(case, text):
    if min(case.result()) < 1:
        return
    model = model_for(text, case.f, case.seed)
    w = case.draw(0, case.filters, case.channels // case.groups, *case.kernel)
    grad = case.draw(1, case.count, case.filters, *case.result())
    shape = (case.count, case.channels, *case.size)
    want = input_gradient(case, w, grad, case.size, case.f, model)
    w, grad = fp.array(w, case.f), fp.array(grad, case.f)
    out = model.result_format
    got = fp.conv2d_input(shape, w, grad, **case.options, accumulate=model, out=out)
    assert got.shape == shape
    assert_same(got, want, want)


@given(case=cases(), text=texts)
@fast
def test_the_weight_gradient_is_one_sum_over_the_batch(case, text):
    if min(case.result()) < 1:
        return
    model = model_for(text, case.f, case.seed)
    x = case.draw(0, case.count, case.channels, *case.size)
    grad = case.draw(1, case.count, case.filters, *case.result())
    shape = (case.filters, case.channels // case.groups, *case.kernel)
    want = weight_gradient(case, x, grad, case.f, model)
    x, grad = fp.array(x, case.f), fp.array(grad, case.f)
    out = model.result_format
    got = fp.conv2d_weight(x, shape, grad, **case.options, accumulate=model, out=out)
    assert got.shape == shape
    assert_same(got, want, want)


@given(
    case=cases(), text=texts, more=st.tuples(st.integers(0, 2), st.integers(0, 2)), data=st.data()
)
@settings(max_examples=60, deadline=None)
def test_the_transposed_convolution_and_its_gradients_are_loops(case, text, more, data):
    most = [max(s, d) - 1 for s, d in zip(case.stride, case.dilation, strict=True)]
    more = tuple(min(m, n) for m, n in zip(more, most, strict=True))
    size = case.transposed(more)
    if min(size) < 1:
        return
    model, f = model_for(text, case.f, case.seed), case.f
    x = case.draw(0, case.count, case.channels, *case.size)
    w = case.draw(1, case.channels, case.filters // case.groups, *case.kernel)
    grad = case.draw(2, case.count, case.filters, *size)
    options = {**case.options, "output_padding": more}
    options |= {"accumulate": model, "out": model.result_format}
    ours = [fp.array(v, f) for v in (x, w, grad)]
    which = data.draw(st.sampled_from(["forward", "input", "weight"]))
    if which == "forward":
        want = input_gradient(case, w, x, size, f, model)
        got = fp.conv_transpose2d(ours[0], ours[1], **options)
    elif which == "input":
        want = convolution(case, grad, w, f, model, case.size)
        got = fp.conv_transpose2d_input(x.shape, ours[1], ours[2], **options)
    else:
        want = weight_gradient(case, grad, x, f, model)
        got = fp.conv_transpose2d_weight(ours[0], w.shape, ours[2], **options)
    assert got.shape == want.shape
    assert_same(got, want, want)


FIXED = Case(fp.E4M3, 2, 4, 2, (4, 3), (2, 2), (2, 1), (1, 0), (1, 2), 2, seed=7)


@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize("text", [*MODELS, "{f} sequential rounding=stochastic random_bits=5"])
def test_every_model_on_one_case(monkeypatch, text, limit):
    case, f = FIXED, FIXED.f
    model = model_for(text, f, seed=3)
    if limit:
        monkeypatch.setattr(patches, "PATCH_BYTES", limit)
    x, w = case.draw(0, 2, 4, 4, 3), case.draw(1, 2, 2, 2, 2)
    grad = case.draw(2, 2, 2, *case.result())
    ours = [fp.array(v, f) for v in (x, w, grad)]
    options = {**case.options, "accumulate": model, "out": model.result_format}
    want = convolution(case, x, w, f, model, case.result())
    assert_same(fp.conv2d(*ours[:2], **options), want, want)
    want = input_gradient(case, w, grad, case.size, f, model)
    assert_same(fp.conv2d_input(x.shape, *ours[1:], **options), want, want)
    want = weight_gradient(case, x, grad, f, model)
    assert_same(fp.conv2d_weight(ours[0], w.shape, ours[2], **options), want, want)


@pytest.mark.parametrize("axis", [2, 3])
def test_output_padding_as_large_as_the_stride(axis):
    # Two rows (or columns) of a kernel, three apart: two elements make 2 + 3 and 2 empty ones.
    def line(*numbers):
        return np.expand_dims(np.float16([[numbers]]), 5 - axis)

    x, w, grad = line(1, 2), line(1, 10), line(1, 2, 3, 4, 5, 6, 7)
    one_way = lambda along, other: (along, other) if axis == 2 else (other, along)  # noqa: E731
    options = {"dilation": one_way(3, 1), "output_padding": one_way(2, 0)}
    assert fp.conv_transpose2d(x, w, **options).tolist() == line(1, 2, 0, 10, 20, 0, 0).tolist()
    got = fp.conv_transpose2d_input(x.shape, w, grad, **options)
    assert got.tolist() == line(1 + 40, 2 + 50).tolist()
    got = fp.conv_transpose2d_weight(x, w.shape, grad, **options)
    assert got.tolist() == line(1 + 4, 4 + 10).tolist()


# -- memory ------------------------------------------------------------------------------------------


@given(case=cases(), text=texts, limit=st.sampled_from([1, 40, 200]))
@settings(max_examples=80, deadline=None)
def test_patches_gathered_in_parts_change_no_bit(case, text, limit):
    if min(case.result()) < 1:
        return
    f, model = case.f, model_for(text, case.f, case.seed)
    x = fp.array(case.draw(0, case.count, case.channels, *case.size), f)
    w = fp.array(case.draw(1, case.filters, case.channels // case.groups, *case.kernel), f)
    grad = fp.array(case.draw(2, case.count, case.filters, *case.result()), f)
    options = {**case.options, "accumulate": model}

    def everything():
        return (
            fp.conv2d(x, w, **options),
            fp.conv2d_input(x.shape, w, grad, **options),
            fp.conv2d_weight(x, w.shape, grad, **options),
        )

    whole = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "PATCH_BYTES", limit)
        for got, want in zip(everything(), whole, strict=True):
            assert_same(got, want, want)


@pytest.mark.parametrize("text", ["fp16 sequential", "fp16 pairwise"])
def test_parts_stay_within_their_limit(monkeypatch, text):
    seen = []
    run = patches.run
    spy = lambda a, b, *more, **how: (seen.append(b.nbytes), run(a, b, *more, **how))[1]  # noqa: E731
    monkeypatch.setattr(patches, "run", spy)
    monkeypatch.setattr(patches, "PATCH_BYTES", 4000)
    x, w = np.ones((50, 3, 9, 9), np.float16), np.ones((4, 3, 2, 2), np.float16)
    y = fp.conv2d(x, w, accumulate=text)
    fp.conv2d_input(x.shape, w, y, accumulate=text)
    assert max(seen) <= 4000
    assert len(seen) > 100
    seen.clear()
    fp.conv2d_weight(x, w.shape, y, accumulate=text)
    terms = 50 * 8 * 8
    assert max(seen) <= (4000 if text == "fp16 sequential" else 4 * terms)
    assert sum(seen) == 4 * terms * 12  # each term of each column once


# -- by hand ----------------------------------------------------------------------------------------------


def test_the_batch_is_one_sum():
    x, grad = np.ones((4096, 1, 1, 1), np.float16), np.ones((4096, 1, 1, 1), np.float16)
    shape = (1, 1, 1, 1)
    assert fp.conv2d_weight(x, shape, grad).item() == 2048  # 2049 is a tie, to even
    assert fp.conv2d_weight(x, shape, grad, order="pairwise").item() == 4096
    assert fp.conv2d_weight(x, shape, grad, order="kahan").item() == 4096
    assert fp.conv2d_weight(x, shape, grad, order="exact").item() == 4096


def test_positions_that_do_not_reach_take_part_as_zeros():
    # One element of the gradient and a kernel of two: a pixel beside it is reached by one position.
    grad = np.float16([[[[1.0]]]])
    infinite = np.float16([[[[1.0, math.inf]]]])
    got = fp.conv2d_input((1, 1, 1, 2), infinite, grad).tolist()
    assert math.isnan(got[0][0][0][0])  # 1 * 1, and 0 * inf from outside
    assert got[0][0][0][1] == math.inf
    # Toward negative, +0 + -0 is -0: the zero beside a negative weight shows in the sign.
    model = "fp16 sequential rounding=toward_negative"
    negative = np.float16([[[[-1.0, -1.0]]]])
    skipped = fp.conv2d_input((1, 1, 1, 4), negative, np.float16([[[[2.0]]]]), accumulate=model,
                              stride=(1, 3)).to_numpy()  # fmt: skip
    assert skipped.tolist() == [[[[-2.0, -2.0, 0.0, 0.0]]]]
    assert np.signbit(skipped).all()


def test_blocks_are_counted_with_the_zeros():
    # Four positions, in order 3, 2, 1, 0; with stride 2 the odd or the even ones reach a pixel.
    w = np.float16([[[[1.0, 2048.0, 1.0, 1.0]]]])
    grad = np.float16([[[[1.0, 1.0]]]])
    # Pixel 2: position 2 from element 0, position 0 from element 1: 0 + 1, then 0 + 1.
    got = fp.conv2d_input((1, 1, 1, 6), w, grad, stride=(1, 2), order="blocked:2")
    assert got.tolist() == [[[[1.0, 2048.0, 2.0, 2048.0, 1.0, 1.0]]]]


def test_no_images_no_filters_and_images_that_draw_for_themselves():
    none = np.zeros((0, 2, 3, 3), np.float16)
    got = fp.conv2d_weight(none, (4, 2, 2, 2), np.zeros((0, 4, 2, 2), np.float16))
    assert got.tolist() == np.zeros((4, 2, 2, 2)).tolist()
    got = fp.conv2d_weight(none, (4, 2, 2, 2), np.zeros((0, 4, 2, 2), np.float16), order="kahan")
    assert got.tolist() == np.zeros((4, 2, 2, 2)).tolist()
    x = np.zeros((1, 2, 3, 3), np.float16)
    grad = np.zeros((1, 0, 2, 2), np.float16)
    assert fp.conv2d_weight(x, (0, 2, 2, 2), grad).shape == (0, 2, 2, 2)
    got = fp.conv2d_input(x.shape, np.zeros((0, 2, 2, 2), np.float16), grad)
    assert got.tolist() == x.tolist()
    model = "e4m3 sequential rounding=stochastic seed=1"
    rng = np.random.default_rng(0)
    w = fp.array(rng.normal(size=(2, 2, 3, 3)), "e4m3")
    half = rng.normal(size=(1, 2, 4, 4))
    grad = fp.array(np.concatenate([half, half]), "e4m3")
    two = fp.conv2d_input((2, 2, 6, 6), w, grad, accumulate=model).tolist()
    assert two[0] != two[1]
    assert two == fp.conv2d_input((2, 2, 6, 6), w, grad, accumulate=model).tolist()


def test_the_input_gradient_is_the_transposed_convolution():
    rng = np.random.default_rng(4)
    w = fp.array(rng.normal(size=(4, 3, 3, 2)), "fp16")
    grad = fp.array(rng.normal(size=(2, 4, 3, 4)), "fp16")
    got = fp.conv2d_input((2, 3, 6, 8), w, grad, stride=2, padding=(1, 0))
    same = fp.conv_transpose2d(grad, w, stride=2, padding=(1, 0), output_padding=(1, 0))
    assert got.tolist() == same.tolist()


def test_sequences_are_images_of_one_row():
    rng = np.random.default_rng(5)
    case = Case(fp.FP16, 2, 2, 4, (1, 9), (1, 3), (1, 2), (0, 1), (1, 2), 2, 0)
    x, w = case.draw(0, 2, 2, 9), case.draw(1, 4, 1, 3)
    grad = fp.quantize(rng.normal(size=(2, 4, case.result()[1])), "fp16")
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    model = filled(Accumulator("fp16"))
    ours = [fp.array(v, "fp16") for v in (x, w, grad)]
    got = fp.conv1d_input(x.shape, ours[1], ours[2], **options)
    want = input_gradient(case, w[:, :, None], grad[:, :, None], (1, 9), fp.FP16, model)
    assert_same(got, want[:, :, 0], want)
    got = fp.conv1d_weight(ours[0], w.shape, ours[2], **options)
    want = weight_gradient(case, x[:, :, None], grad[:, :, None], fp.FP16, model)
    assert_same(got, want[:, :, 0], want)


# -- refusals ------------------------------------------------------------------------------------------------


def zeros(*shape: int, dtype=np.float16) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fp.conv2d_input((1, 1, 4, 4), zeros(1, 1, 2, 2), zeros(1, 1, 4, 4)),
            "grad_output of conv2d_input must have the result's shape (1, 1, 3, 3), got (1, 1, 4, 4)",
        ),
        (
            lambda: fp.conv2d_input((1, 4, 4), zeros(1, 1, 2, 2), zeros(1, 1, 3, 3)),
            "input_size must be a shape (N, C, H, W), got (1, 4, 4)",
        ),
        (
            lambda: fp.conv2d_input((1, 2, 4, 4), zeros(1, 1, 2, 2), zeros(1, 1, 3, 3)),
            "weights of shape (1, 1, 2, 2) and 1 groups take 1 channels, the images have 2",
        ),
        (
            lambda: fp.conv2d_weight(zeros(1, 3, 4, 4), (2, 1, 2, 2), zeros(1, 2, 3, 3), groups=2),
            "groups must divide the 3 channels and the 2 filters, got 2",
        ),
        (
            lambda: fp.conv2d_weight(zeros(3, 4, 4), (1, 3, 2, 2), zeros(1, 1, 3, 3)),
            "conv2d_weight takes images (N, C, H, W), got shape (3, 4, 4)",
        ),
        (
            lambda: fp.conv2d_weight(
                zeros(1, 1, 4, 4), (1, 1, 2, 2), zeros(1, 1, 3, 3, dtype=np.float32)
            ),
            "conv2d_weight of fp16 and fp32: operands must share a format",
        ),
        (
            lambda: fp.conv2d_weight(zeros(1, 1, 4, 4), (1, 1, 0, 2), zeros(1, 1, 5, 3)),
            "kernels have at least one row and column, got shape (1, 1, 0, 2)",
        ),
        (
            lambda: fp.conv_transpose2d(zeros(1, 1, 2, 2), zeros(1, 1, 2, 2), output_padding=1),
            "output_padding (1, 1) must be below the stride (1, 1) or the dilation (1, 1)",
        ),
        (
            lambda: fp.conv_transpose2d(zeros(1, 1, 1, 1), zeros(1, 1, 2, 2), padding=1),
            "padding (1, 1) leaves 0 x 0 of the transposed convolution of images of 1 x 1",
        ),
        (
            lambda: fp.conv_transpose2d_input((1, 2, 2, 2), zeros(1, 1, 2, 2), zeros(1, 1, 3, 3)),
            "takes weights (C, O / groups, kh, kw) for images of 2 channels, got shape (1, 1, 2, 2)",
        ),
        (
            lambda: fp.conv_transpose2d_weight(zeros(1, 1, 2, 2), (1, 1, 2, 2), zeros(1, 1, 2, 2)),
            "grad_output of conv_transpose2d_weight must have the result's shape (1, 1, 3, 3)",
        ),
        (
            lambda: fp.conv1d_input((1, 1, 4), zeros(1, 1, 2, 2), zeros(1, 1, 3)),
            "conv1d_input takes arrays of 3 dimensions, got shapes (1, 1, 2, 2) and (1, 1, 3)",
        ),
        (
            lambda: fp.conv2d_input(
                (1, 1, 1, 1), fp.array([[[[1.0]]]], "e8m0"), fp.array([[[[1.0]]]], "e8m0")
            ),
            "conv2d_input puts zeros between elements; e8m0 has none",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)
