"""Gradients against numeric ones, and a rounded layer against the reference, value by value."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest
from oracles import assert_same

import fpemu as fp
from fpemu import exact, nn
from fpemu.autograd import draws, memory
from fpemu.autograd import operations as table
from fpemu.autograd.check import GradientMismatchError, check_grad
from fpemu.autograd.operations import (
    ADAPTIVE_AVG_POOL2D,
    ADAPTIVE_MAX_POOL2D,
    AVG_POOL1D,
    AVG_POOL2D,
    CONCATENATE,
    CONV1D,
    CONV2D,
    CONV_TRANSPOSE2D,
    CROSS_ENTROPY,
    LINEAR,
    MAX_POOL1D,
    MAX_POOL2D,
    RELU,
    TABLE,
)
from fpemu.autograd.site import plain_site
from fpemu.autograd.tensor import Operation, Tensor, apply

SITE = plain_site("here")
rng = np.random.default_rng(11)
X, W, B = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal(5)
TARGETS = np.array([0, 4, 2, 2])


def network(x: Tensor, w: Tensor, b: Tensor, relu: Operation = RELU) -> Tensor:
    hidden = apply(relu, SITE, apply(LINEAR, SITE, x, w, b))
    return apply(CROSS_ENTROPY, SITE, hidden, targets=TARGETS)


def test_gradients_of_a_network_agree_with_numeric_ones():
    check_grad(network, [X, W, B])


def squared(y: Tensor) -> Tensor:
    """A scalar whose gradient differs from element to element."""
    return (y * y).sum()


A2, C3, P2 = rng.standard_normal((3, 4)), rng.standard_normal((2, 1, 4)), rng.random((3, 4)) + 0.5
I4, K4, L3 = (rng.standard_normal(n) for n in ((2, 2, 6, 5), (4, 1, 3, 2), (2, 2, 7)))
MOVES = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
POOL = {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}
CHECKS = {
    "linear": (lambda x, w, b: squared(LINEAR(x, w, b)), [X, W, B]),
    "conv1d": (
        lambda x, w, b: squared(CONV1D(x, w, b, stride=2, padding="valid", dilation=2)),
        [L3, rng.standard_normal((3, 2, 3)), B[:3]],
    ),
    "conv2d": (lambda x, w, b: squared(CONV2D(x, w, b, **MOVES)), [I4, K4, B[:4]]),
    "conv_transpose2d": (
        lambda x, w, b: squared(CONV_TRANSPOSE2D(x, w, b, **MOVES, output_padding=1)),
        [I4, rng.standard_normal((2, 2, 3, 2)), B[:4]],
    ),
    "max_pool1d": (lambda x: squared(MAX_POOL1D(x, kernel_size=3, stride=2)), [L3]),
    "max_pool2d": (lambda x: squared(MAX_POOL2D(x, **POOL)), [I4]),
    "avg_pool1d": (lambda x: squared(AVG_POOL1D(x, kernel_size=3, stride=2)), [L3]),
    "avg_pool2d": (
        lambda x: squared(AVG_POOL2D(x, **POOL, ceil_mode=True, count_include_pad=False)),
        [I4],
    ),
    "adaptive_max_pool2d": (lambda x: squared(ADAPTIVE_MAX_POOL2D(x, output_size=(4, 2))), [I4]),
    "adaptive_avg_pool2d": (lambda x: squared(ADAPTIVE_AVG_POOL2D(x, output_size=(4, 3))), [I4]),
    "matmul": (lambda a, b: squared(a @ b), [rng.standard_normal((2, 3, 4)), A2.T]),
    "add": (lambda a, b: squared(a + b), [A2, C3]),
    "subtract": (lambda a, b: squared(a - b), [A2, C3]),
    "multiply": (lambda a, b: squared(a * b), [A2, C3]),
    "divide": (lambda a, b: squared(a / b), [C3, P2]),
    "negate": (lambda a: squared(-a * 3.0), [A2]),
    "relu": (lambda a: squared(a.relu()), [A2]),
    "exp": (lambda a: squared(a.exp()), [A2]),
    "log": (lambda a: squared(a.log()), [P2]),
    "sqrt": (lambda a: squared(a.sqrt()), [P2]),
    "tanh": (lambda a: squared(a.tanh()), [A2]),
    "sigmoid": (lambda a: squared(a.sigmoid()), [A2]),
    "reshape": (lambda a: squared(a.reshape(2, -1) @ P2.reshape(6, 2)), [A2]),
    "permute": (lambda a: squared(a.T @ P2), [A2]),
    "take": (lambda a: squared(a[1:, ::2]), [A2]),
    "concatenate": (lambda a, b: squared(CONCATENATE(a, b, axis=-1) * 2.0), [A2, P2]),
    "sum": (lambda a: squared(a.sum(axis=(0, -1))), [rng.standard_normal((2, 3, 2))]),
    "mean": (lambda a: squared(a.mean(axis=1, keepdims=True)), [A2]),
    "cross_entropy": (lambda z: CROSS_ENTROPY(z, targets=TARGETS), [rng.standard_normal((4, 5))]),
    "softmax": (lambda a: squared(a.softmax(0)), [A2]),
    "log_softmax": (lambda a: squared(a.log_softmax()), [A2]),
    "layer_norm": (
        lambda x, w, b: squared(table.LAYER_NORM(x, w, b, shape=(2, 3))),
        [rng.standard_normal((2, 2, 3)) for _ in range(1)] + [rng.random((2, 3)) for _ in range(2)],
    ),
    "rms_norm": (
        lambda x, w: squared(table.RMS_NORM(x, w, shape=(4,))),
        [A2, rng.random(4) + 0.5],
    ),
    "group_norm": (
        lambda x, w, b: squared(table.GROUP_NORM(x, w, b, groups=2)),
        [rng.standard_normal((2, 4, 3)), rng.random(4) + 0.5, rng.random(4)],
    ),
    "batch_norm": (
        lambda x, w, b: squared(table.BATCH_NORM(x, w, b)),
        [rng.standard_normal((3, 2, 2)), rng.random(2) + 0.5, rng.random(2)],
    ),
    "embedding": (
        lambda w: squared(table.EMBEDDING(w, indices=np.array([[2, 0], [2, 2]]))),
        [A2],
    ),
    "dropout": (lambda a: squared(dropped(a)), [A2]),
    "scale": (lambda a: squared(table.SCALE(a, factor=0.3)), [A2]),
    "leaky_relu": (lambda a: squared(table.LEAKY_RELU(a, negative_slope=0.3)), [A2]),
    "absolute": (lambda a: squared(a.abs() + a), [A2]),
    "gelu": (lambda a: squared(table.GELU(a)), [A2]),
    "gelu_tanh": (lambda a: squared(table.GELU_TANH(a)), [A2]),
    "silu": (lambda a: squared(table.SILU(a)), [A2]),
    "softplus": (lambda a: squared(table.SOFTPLUS(a, beta=2.0, threshold=1.0)), [A2]),
    "power": (lambda a: squared(a**2.5), [P2]),
    "masked_fill": (lambda a: squared(table.MASKED_FILL(a, mask=A2 > 0, value=3.0)), [A2]),
    "nll_loss": (
        lambda z: table.NLL(z, targets=TARGETS, weight=P2.reshape(-1)[:5], ignore_index=0),
        [rng.standard_normal((4, 5))],
    ),
    "mse_loss": (lambda a, b: table.MSE(a, b), [A2, P2]),
    "huber_loss": (lambda a, b: table.HUBER(a, b, delta=0.7), [A2, P2]),
    "smooth_l1_loss": (lambda a, b: table.SMOOTH_L1(a, b, beta=0.7, reduction="sum"), [A2, P2]),
    "binary_cross_entropy_with_logits": (
        lambda a: table.BINARY_CROSS_ENTROPY(a, targets=A2 > 0, weight=P2, pos_weight=P2[0]),
        [A2],
    ),
}


def dropped(a: Tensor) -> Tensor:
    with draws.block(1, 2):  # the same elements every time
        return table.DROPOUT(a, p=0.4)


def test_every_operation_is_checked():
    assert set(CHECKS) == set(TABLE)


# Other ways through the same operations.
MORE = {
    "layer_norm without parameters": (
        lambda x: squared(table.LAYER_NORM(x, shape=(4,)) * A2),
        [A2],
    ),
    "batch_norm by constants": (
        lambda x, w, b: squared(table.BATCH_NORM(x, w, b, running=RUNNING, training=False)),
        [rng.standard_normal((3, 2)), rng.random(2) + 0.5, rng.random(2)],
    ),
    "embedding with padding": (
        lambda w: squared(table.EMBEDDING(w, indices=np.array([1, 0, 1]), padding_idx=2)),
        [A2],
    ),
    "cross_entropy with everything": (
        lambda z: CROSS_ENTROPY(
            z, targets=TARGETS, weight=P2.reshape(-1)[:5], ignore_index=4, label_smoothing=0.3
        ),
        [rng.standard_normal((4, 5))],
    ),
    "cross_entropy of each row": (
        lambda z: squared(
            CROSS_ENTROPY(z, targets=TARGETS, ignore_index=4, reduction="none", label_smoothing=0.1)
        ),
        [rng.standard_normal((4, 5))],
    ),
    "mse_loss of each element": (lambda a, b: squared(table.MSE(a, b, reduction="none")), [A2, P2]),
}
RUNNING = (Tensor(fp.array([0.5, -1], fp.FP64)), Tensor(fp.array([2.0, 0.3], fp.FP64)))


@pytest.mark.parametrize("name", [*CHECKS, *MORE])
def test_gradients_of_every_operation_agree_with_numeric_ones(name):
    function, inputs = {**CHECKS, **MORE}[name]
    check_grad(function, inputs)


def test_the_check_catches_a_wrong_gradient():
    def wrong(site, positive, gradient, needed):
        (g,) = RELU.backward(site, positive, gradient, needed)
        return (fp.array(np.asarray(g) * 1.001, fp.FP64),)

    broken = RELU._replace(backward=wrong)
    with pytest.raises(GradientMismatchError, match="gradient of input 0: analytic"):
        check_grad(lambda x, w, b: network(x, w, b, broken), [X, W, B])


def test_gradients_add_where_a_tensor_is_used_twice():
    x = Tensor(fp.array(X, fp.FP64), requires_grad=True)
    w = Tensor(fp.array(rng.standard_normal((3, 3)), fp.FP64), requires_grad=True)
    zero = Tensor(fp.array(np.zeros(3), fp.FP64))

    def twice(x, w):
        return apply(
            CROSS_ENTROPY,
            SITE,
            apply(LINEAR, SITE, apply(LINEAR, SITE, x, w, zero), w, zero),
            targets=np.array([0, 1, 2, 2]),
        )

    check_grad(twice, [np.asarray(x), np.asarray(w)])


def test_a_deep_graph_needs_no_recursion():
    x = Tensor(fp.array(np.ones((1, 1)), fp.FP64), requires_grad=True)
    y = x
    for _ in range(3000):
        y = apply(RELU, SITE, y)
    apply(CROSS_ENTROPY, SITE, y, targets=np.array([0])).backward()
    assert x.grad.tolist() == [[0.0]]


def test_relu_keeps_nan_and_makes_plus_zero():
    special = [-0.0, 0.0, -1.0, 2.0, np.inf, -np.inf, np.nan]
    for f in (fp.FP16, fp.FP64):
        y, passes = RELU.forward(SITE, fp.array(special, f))
        assert_same(y, np.array([0.0, 0.0, 0.0, 2.0, np.inf, 0.0, np.nan]), special)
        g = fp.array([np.inf, np.nan, -np.inf, -3.0, -0.0, -1.0, 5.0], f)
        (back,) = RELU.backward(SITE, passes, g, (True,))
        # At NaN it goes on: PyTorch's, which tests/test_parity_torch.py asks.
        assert_same(back, np.array([0.0, 0.0, 0.0, -3.0, -0.0, 0.0, 5.0]), special)


def test_the_graph_is_freed_and_no_grad_records_nothing():
    x = Tensor(fp.array(np.ones((1, 2)), fp.FP64), requires_grad=True)
    loss = apply(CROSS_ENTROPY, SITE, x, targets=np.array([0]))
    loss.backward()
    with pytest.raises(fp.ArgumentError, match="backward needs a recorded graph"):
        loss.backward()
    with fp.no_grad():
        assert not apply(RELU, SITE, x).requires_grad
    with pytest.raises(fp.ArgumentError, match=r"got shape \(1, 2\); sum first"):
        x.backward()


@pytest.mark.parametrize(
    "text",
    [
        "fp16",
        "bf16",
        "weights=e4m3 activations=e5m2 gradients=e5m2 accumulate=fp16",
        "weights=bf16 activations=fp16 gradients=e5m2 accumulate=fp32 outputs=tf32",
    ],
)
def test_a_linear_layer_rounds_each_value_where_it_says(text):
    policy = fp.Policy.parse(text)
    layer = nn.Linear(6, 3)
    values = rng.standard_normal((2, 6)).astype(np.float32)
    with policy:
        y = layer(Tensor(values, requires_grad=True))
    out = policy.outputs or policy.activations
    for n, o in np.ndindex(2, 3):
        w = [exact.round_to(v, policy.weights) for v in np.asarray(layer.weight)[o].tolist()]
        x = [exact.round_to(v, policy.activations) for v in values[n].tolist()]
        total = exact.dot(x, w, policy.accumulate)
        b = exact.round_to(float(np.asarray(layer.bias)[o]), policy.outputs or policy.weights)
        total = exact.add(total, exact.round_to(b, policy.accumulate), policy.accumulate)
        assert_same(np.asarray(y)[n, o], exact.round_to(total, out), n)
    assert y.data.format == out


def test_a_backward_pass_rounds_each_value_where_it_says():
    policy = fp.Policy.parse("weights=fp16 activations=bf16 gradients=e5m2 accumulate=fp32")
    site = policy.site("layer")
    x, w = (fp.array(v, f) for v, f in ((X, fp.FP32), (W, fp.FP32)))
    b = fp.array(B, fp.FP32)
    _, saved = LINEAR.forward(site, x, w, b)
    g = fp.array(rng.standard_normal((4, 5)), fp.FP32)
    to_x, to_w, to_b = LINEAR.backward(site, saved, g, (True, True, True))
    gq = np.vectorize(lambda v: exact.round_to(float(v), fp.E5M2))(np.asarray(g))
    wq = np.vectorize(lambda v: exact.round_to(float(v), fp.FP16))(np.asarray(w))
    xq = np.vectorize(lambda v: exact.round_to(float(v), fp.BF16))(np.asarray(x))
    for got, left, right in ((to_x, gq, wq), (to_w, gq.T, xq), (to_b, np.ones((1, 4)), gq)):
        want = [
            [
                exact.round_to(exact.dot(row.tolist(), col.tolist(), fp.FP32), fp.E5M2)
                for col in right.T
            ]
            for row in left
        ]
        assert_same(got, np.reshape(want, got.shape), np.reshape(want, got.shape))
        assert got.format == fp.E5M2


def test_per_tensor_scaling_uses_the_whole_range_and_changes_no_significand():
    policy = fp.policies["fp8_hybrid"]
    small = fp.array(X * 2.0**-30, fp.FP32)
    operand = policy.site("layer").operand(small, "activations", "forward/input")
    top = np.abs(np.asarray(operand.array)).max()
    assert fp.E4M3.max / 2 < top <= fp.E4M3.max
    for name in ("weights", "gradients"):
        zeros = policy.site("layer").operand(fp.array(np.zeros(3), fp.FP32), name, "x")
        assert (operand.array.format, zeros.exponent) == (fp.E4M3, 0)
    assert 2.0**operand.exponent * np.abs(np.asarray(small)).max() == pytest.approx(top, rel=0.07)
    # Unscaled, products of such values would underflow; scaled, only E4M3's rounding is left.
    layer = nn.Linear(3, 5)
    with policy:
        y = np.asarray(layer(Tensor(small))) - np.asarray(layer.bias)
    with fp.policies["fp32"]:
        want = np.asarray(layer(Tensor(small))) - np.asarray(layer.bias)
    assert np.abs(y - want).max() < 2.0**-20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.Linear(3, 2)(np.ones((2, 4), np.float32)),
            "linear takes input of shape (batch, 3)",
        ),
        (lambda: nn.Linear(0, 2), "Linear's inputs must be a positive integer, got 0"),
        (
            lambda: nn.cross_entropy(Tensor(X), [0, 1, 2, 3]),
            "target 3 is out of range; allowed: 0 to 2",
        ),
        (lambda: nn.cross_entropy(Tensor(X), [0, 1]), "one target per row, got (4, 3) and (2,)"),
        (lambda: nn.cross_entropy(Tensor(X), [0.5]), "targets must be a 1-d array of integers"),
        (lambda: nn.mlp([3]), "an MLP needs at least an input and an output size"),
        (lambda: nn.Sequential(3), "Sequential takes modules, got 3"),
    ],
)
def test_bad_input_to_layers_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_state_dicts_have_pytorchs_keys_and_layouts():
    model = nn.mlp([4, 3, 2])
    state = model.state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        "0.weight": (3, 4),
        "0.bias": (3,),
        "2.weight": (2, 3),
        "2.bias": (2,),
    }
    state["0.bias"][:] = 7
    assert 7 not in np.asarray(model[0].bias)
    model.load_state_dict(state)
    assert np.asarray(model[0].bias).tolist() == [7, 7, 7]
    with pytest.raises(fp.ArgumentError, match=r"missing \['2.bias'\], unexpected \['x'\]"):
        model.load_state_dict({**{k: v for k, v in state.items() if k != "2.bias"}, "x": 1})
    with pytest.raises(fp.ArgumentError, match=r"'0.bias'\] has shape \(2,\), the model \(3,\)"):
        model.load_state_dict({**state, "0.bias": np.ones(2)})
    assert [p.name for p in model.parameters()][2] == "layers.2/weight"
    assert repr(model) == "Sequential(Linear(4, 3), ReLU(), Linear(3, 2))"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what they like")
def test_freed_memory_is_there_for_the_next_step():
    """Pages that come anew in ten steps, each of which allocates and frees twelve megabytes."""
    program = f"""
import resource, runpy, sys
import numpy as np
made = runpy.run_path({memory.__file__!r})
if sys.argv[1] == "kept":
    made["keep_freed"]()
def step():
    arrays = [np.ones(2**17 * k) for k in (1, 2, 4, 5)]
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    kept, handed_back = (
        int(
            subprocess.run(
                [sys.executable, "-c", program, how], capture_output=True, check=True
            ).stdout
        )
        for how in ("kept", "as ever")
    )
    assert kept < handed_back / 10
