"""Pooling: the largest exactly, means by rounded sums; gradients where windows overlap; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles import assert_same

import fpemu as fp
from fpemu import nn
from fpemu.autograd import places
from fpemu.autograd.operations import (
    ADAPTIVE_AVG_POOL2D,
    ADAPTIVE_MAX_POOL2D,
    AVG_POOL1D,
    AVG_POOL2D,
    MAX_POOL1D,
    MAX_POOL2D,
    pooling,
)

rng = np.random.default_rng(9)
HALF = "weights=fp16 activations=fp16 gradients=fp16 accumulate=fp16"


def half(*shape: int) -> fp.Array:
    return fp.array(rng.standard_normal(shape), "fp16")


def passes(operation, x, g=None, policy=HALF, **options):
    """Result and gradient under a policy; `g` is by default drawn."""
    with fp.Policy.parse(policy):
        site = places.site("layers.0", operation.name, (x.format,))
        y, saved = operation.forward(site, x, **options)
        g = half(*y.shape) if g is None else g
        return y, operation.backward(site, saved, g, (True,))[0], g


def windows_of(n: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil=False):
    """The elements of each window along an axis, by PyTorch's definition; None in the padding."""
    found, i = [], 0
    span = (kernel - 1) * dilation + 1
    while True:
        first = i * stride - padding
        fits = first + span <= n + padding
        if not fits and not (ceil and first < n + padding and first + span < n + padding + stride):
            return found
        if not fits and first >= n + padding:
            return found
        found.append([p if 0 <= (p := first + t * dilation) < n else None for t in range(kernel)])
        i += 1


def adaptive_windows(n: int, count: int):
    return [
        list(range(math.floor(i * n / count), math.ceil((i + 1) * n / count))) for i in range(count)
    ]


def largest_by_loop(x: np.ndarray, g: np.ndarray, rows, columns):
    """Result and gradient by a loop over windows, gradients added by NumPy's float16."""
    out = np.zeros((*x.shape[:2], len(rows), len(columns)))
    back, reached = np.zeros(x.shape, np.float16), np.zeros(x.shape, bool)
    for n, c, i, j in np.ndindex(out.shape):
        best = None
        for p in rows[i]:
            for q in columns[j]:
                if p is None or q is None:
                    continue
                v = x[n, c, p, q]
                if best is None or v > x[best] or math.isnan(v):
                    best = (n, c, p, q)
        out[n, c, i, j] = x[best]
        piece = np.float16(g[n, c, i, j])
        back[best] = np.float16(back[best] + piece) if reached[best] else piece
        reached[best] = True
    return out, back.astype(float)


CASES = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (1, 2)},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 1), "dilation": (2, 1)},
    {"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def axes(shape, options):
    kernel = two(options["kernel_size"])
    moves = [two(options.get(name, usual)) for name, usual in
             (("stride", kernel), ("padding", 0), ("dilation", 1))]  # fmt: skip
    return [
        windows_of(n, k, *(m[axis] for m in moves), options.get("ceil_mode", False))
        for axis, (n, k) in enumerate(zip(shape[2:], kernel, strict=True))
    ]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("special", [False, True])
def test_the_largest_of_each_window_and_its_gradient(options, special):
    numbers = rng.integers(-2, 3, (2, 3, 7, 6)) * 0.5  # with many equal ones
    numbers = np.where(numbers == 0, np.copysign(0.0, rng.standard_normal(numbers.shape)), numbers)
    if special:
        numbers[rng.random(numbers.shape) < 0.2] = math.nan
        numbers[rng.random(numbers.shape) < 0.3] = -math.inf
    x = fp.array(numbers, "fp16")
    y, back, g = passes(MAX_POOL2D, x, **options)
    want, gradient = largest_by_loop(numbers, g.to_numpy(), *axes(x.shape, options))
    assert_same(y, want, want)
    assert_same(back, gradient, gradient)


@pytest.mark.parametrize("size", [1, (3, 2), (5, None), (9, 4)])
def test_adaptive_windows(size):
    x = half(2, 2, 7, 6)
    high, wide = (n if own is None else own for n, own in zip((7, 6), two(size), strict=True))
    rows, columns = adaptive_windows(7, high), adaptive_windows(6, wide)
    y, back, g = passes(ADAPTIVE_MAX_POOL2D, x, output_size=size)
    want, gradient = largest_by_loop(x.to_numpy(), g.to_numpy(), rows, columns)
    assert_same(y, want, want)
    assert_same(back, gradient, gradient)
    y, back, g = passes(ADAPTIVE_AVG_POOL2D, x, output_size=size)
    want, gradient = mean_by_loop(x.to_numpy(), g.to_numpy(), rows, columns, None)
    assert_same(y, want, want)
    assert_same(back, gradient, gradient)


# -- means -----------------------------------------------------------------------------------------------


def mean_by_loop(x, g, rows, columns, number):
    """In NumPy's float16: a sum over the window, a division; `number` (i, j) -> divisor, or None."""
    out, back = np.zeros(g.shape), np.zeros(x.shape, np.float16)
    for n, c, i, j in np.ndindex(g.shape):
        inside = [
            (n, c, p, q) for p in rows[i] for q in columns[j] if p is not None and q is not None
        ]
        divisor = np.float16(number(i, j) if number else len(inside))
        total = np.float16(0)
        for at in inside:
            total = np.float16(total + np.float16(x[at]))
        out[n, c, i, j] = np.float16(total / divisor)
        share = np.float16(np.float16(g[n, c, i, j]) / divisor)
        for at in inside:
            back[at] = np.float16(back[at] + share)
    return out, back.astype(float)


@pytest.mark.parametrize("options", [c for c in CASES if "dilation" not in c])
@pytest.mark.parametrize("include", [True, False, 5])
def test_means_of_windows_and_their_gradient(options, include):
    x = half(2, 2, 7, 6)
    rows, columns = axes(x.shape, options)
    kernel, pads = two(options["kernel_size"]), two(options.get("padding", 0))
    strides = two(options.get("stride", kernel))

    def padded(i, j):
        lengths = []
        for axis, place in ((0, i), (1, j)):
            first = place * strides[axis] - pads[axis]
            lengths.append(min(first + kernel[axis], x.shape[2 + axis] + pads[axis]) - first)
        return lengths[0] * lengths[1]

    if include == 5:
        number, more = (lambda i, j: 5), {"divisor_override": 5}
    else:
        number, more = (padded if include else None), {"count_include_pad": include}
    y, back, g = passes(AVG_POOL2D, x, **options, **more)
    want, gradient = mean_by_loop(x.to_numpy(), g.to_numpy(), rows, columns, number)
    assert_same(y, want, want)
    assert_same(back, gradient, gradient)


def test_sums_of_means_are_by_the_model_of_inner_sums():
    x = fp.array(np.ones((1, 1, 64, 64)), "fp16")
    assert passes(AVG_POOL2D, x, kernel_size=64)[0].item() == 0.5  # 2048 ones, and no more
    better = f"{HALF} inner='fp16 pairwise'"
    assert passes(AVG_POOL2D, x, policy=better, kernel_size=64)[0].item() == 1.0
    wide = passes(AVG_POOL2D, x, policy=f"{HALF} inner=fp32", kernel_size=64)
    assert (wide[0].item(), wide[0].format) == (1.0, fp.FP16)


def test_sequences():
    x = half(2, 3, 9)
    rows = fp.array(x.to_numpy()[:, :, None], "fp16")
    for flat, whole, options in (
        (MAX_POOL1D, MAX_POOL2D, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (AVG_POOL1D, AVG_POOL2D, {"kernel_size": 2, "stride": None}),
    ):
        y, back, g = passes(flat, x, **options)
        lying = {
            key: value if value is None else ((0 if key == "padding" else 1), value)
            for key, value in options.items()
        }
        want = passes(whole, rows, g.reshape((*g.shape[:2], 1, g.shape[2])), **lying)
        assert y.tolist() == want[0].reshape(y.shape).tolist()
        assert back.tolist() == want[1].reshape(x.shape).tolist()


# -- places ----------------------------------------------------------------------------------------------


def test_what_is_rounded_is_counted():
    x, g = half(1, 1, 4, 4), half(1, 1, 2, 2)
    with fp.trace() as t:
        passes(MAX_POOL2D, x, g, kernel_size=2)
    assert t.to_dicts() == []  # nothing is rounded
    # Nine windows take their largest from fewer elements: what meets is added.
    x, g = half(1, 1, 5, 5), fp.array(np.ones((1, 1, 3, 3)), "fp16")
    with fp.trace() as t:
        passes(MAX_POOL2D, x, g, kernel_size=3, stride=1)
    _, back = largest_by_loop(x.to_numpy(), g.to_numpy(), *[windows_of(5, 3, 1, 0)] * 2)
    (row,) = t.to_dicts()
    assert (row["place"], row["op"]) == ("layers.0/input_grad/sum", "gradients")
    assert row["values"] == 9 - np.count_nonzero(back) > 0
    x, g = half(1, 1, 4, 4), half(1, 1, 2, 2)
    with fp.trace() as t:
        passes(AVG_POOL2D, x, g, f"{HALF} inner=fp32", kernel_size=2)
    values = {row["place"]: row["values"] for row in t.to_dicts()}
    assert values == {
        "layers.0/forward/sum": 2 * 4 * 4,  # each term taken and added
        "layers.0/forward/divide": 4,
        "layers.0/forward/output": 4,
        "layers.0/input_grad/divide": 4,
        "layers.0/input_grad/output": 4,
    }


def test_formats_beyond_float64_and_without_infinity():
    big = fp.Format("big", 15, 40, encoding="p3109_extended")
    x = fp.array(np.array([[[[1.0, 3.0, 2.0, 3.0]]]]), big)
    site = places.site("here", "max_pool2d", (big,))
    y, saved = MAX_POOL2D.forward(site, x, kernel_size=(1, 2))
    assert y.tolist() == [[[[3.0, 3.0]]]]
    (back,) = MAX_POOL2D.backward(site, saved, y, (True,))
    assert back.tolist() == [[[[0.0, 3.0, 0.0, 3.0]]]]
    low = fp.array(np.full((1, 1, 2, 2), -448.0), "e4m3")
    assert passes(MAX_POOL2D, low, kernel_size=3, padding=1)[0].tolist() == [[[[-448.0]]]]


# -- a planted bug, and refusals ----------------------------------------------------------------------------


def test_the_last_of_equal_ones_is_caught(monkeypatch):
    right = pooling._first_largest

    def last(pieces):
        return np.int8(len(pieces) - 1) - right(pieces[::-1])

    monkeypatch.setattr(pooling, "_first_largest", last)
    with pytest.raises(AssertionError):
        test_the_largest_of_each_window_and_its_gradient(CASES[0], False)


def test_gradients_added_from_the_last_window_are_caught(monkeypatch):
    """In float16, 2048 + 1 + 1 is 2048 from the left and 2050 from the right."""
    x = fp.array(np.array([[[[0.0, 0.0, 9.0, 0.0, 0.0]]]]), "fp16")
    g = fp.array(np.array([[[[2048.0, 1.0, 1.0]]]]), "fp16")
    options = {"kernel_size": (1, 3), "stride": 1}
    _, back, _ = passes(MAX_POOL2D, x, g, **options)
    assert back.tolist() == [[[[0.0, 0.0, 2048.0, 0.0, 0.0]]]]
    right = np.argsort
    backwards = lambda a, kind: right(a[::-1], kind=kind) * -1 + len(a) - 1  # noqa: E731
    monkeypatch.setattr(pooling.np, "argsort", backwards)
    _, back, _ = passes(MAX_POOL2D, x, g, **options)
    assert back.tolist() == [[[[0.0, 0.0, 2050.0, 0.0, 0.0]]]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.MaxPool2d(0), "kernel_size must be an integer of at least 1"),
        (lambda: nn.MaxPool2d(2, 0), "stride must be an integer of at least 1"),
        (lambda: nn.AvgPool2d(2, padding=2), "padding 2 must be at most half of the window"),
        (lambda: nn.MaxPool1d((2, 2)), "options of sequences are one integer"),
        (lambda: nn.AdaptiveAvgPool2d((2, 0)), "output_size must be an integer of at least 1"),
        (lambda: nn.MaxPool2d(2)(np.zeros((1, 4, 4), np.float32)), "takes images (N, C, H, W)"),
        (lambda: nn.AvgPool1d(2)(np.zeros((4, 4), np.float32)), "takes sequences (N, C, L)"),
        (lambda: nn.MaxPool2d(5)(np.zeros((1, 1, 4, 4), np.float32)), "spans 5, more than the 4"),
        (
            lambda: nn.MaxPool2d(2, padding=1, dilation=2)(np.zeros((1, 1, 1, 1), np.float32)),
            "lies wholly in the padding",
        ),
        (
            lambda: nn.AvgPool2d(2, divisor_override=0)(np.zeros((1, 1, 2, 2), np.float32)),
            "divisor_override must not be zero",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_layers_show_what_differs_from_usual():
    layers = nn.Sequential(
        nn.MaxPool2d(2),
        nn.AvgPool2d((3, 2), stride=1, ceil_mode=True),
        nn.AdaptiveAvgPool2d((None, 1)),
    )
    assert repr(layers) == (
        "Sequential(MaxPool2d(2), AvgPool2d((3, 2), stride=1, ceil_mode=True), "
        "AdaptiveAvgPool2d((None, 1)))"
    )
    assert layers.state_dict() == {}
