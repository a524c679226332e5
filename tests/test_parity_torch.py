"""FP32 training gives PyTorch's numbers; runs where the extra "torch" is installed."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.data import digits

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_fifty_steps_on_digits_stay_with_pytorch():
    data = digits()
    fp.manual_seed(0)
    ours = nn.mlp([64, 32, 10])
    theirs = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    sgd = optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    torch_sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for step in range(50):
        x, y = data.train_x[step * 28 :][:28], data.train_y[step * 28 :][:28]
        ours.zero_grad()
        loss = nn.cross_entropy(ours(x), y)
        loss.backward()
        torch_sgd.zero_grad()
        torch_loss = torch.nn.functional.cross_entropy(
            theirs(torch.from_numpy(x)), torch.from_numpy(y)
        )
        torch_loss.backward()
        if step == 0:
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                # Only the order of additions differs: some units in the last place of FP32.
                largest = q.grad.abs().max().item()
                assert np.abs(np.asarray(p.grad) - q.grad.numpy()).max() < 2e-6 * largest
        assert abs(loss.item() - torch_loss.item()) < 1e-5 * torch_loss.item()
        sgd.step()
        torch_sgd.step()
    for key, value in ours.state_dict().items():
        assert np.abs(value - theirs.state_dict()[key].numpy()).max() < 1e-5


def test_quantize_agrees_with_torch_casts():
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32) * 1e-3
    tensor = torch.from_numpy(x)
    for name, dtype in [("fp16", torch.float16), ("bf16", torch.bfloat16)]:
        assert np.array_equal(fp.quantize(x, name), tensor.to(dtype).float().numpy())
    wide = torch.from_numpy(np.clip(x * 1e4, -440, 440))
    for name, dtype in [("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)]:
        want = wide.to(dtype).float().numpy()
        assert np.array_equal(fp.quantize(wide.numpy(), name), want)


def test_a_step_by_step_fp16_product_agrees_with_a_loop_over_half_tensors():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((8, 8)).astype(np.float16) for _ in range(2))
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    total = torch.zeros(8, 8, dtype=torch.float16)
    for k in range(8):
        total = total + left[:, k : k + 1] * right[k : k + 1]
    assert np.array_equal(np.asarray(fp.matmul(a, b)), total.float().numpy())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [(1, 0, 1), ((2, 1), (1, 2), (1, 2)), (3, 2, 2)]
)
def test_gradients_of_convolutions_agree_with_autograd(groups, stride, padding, dilation):
    rng = np.random.default_rng(2)
    x = torch.from_numpy(rng.standard_normal((3, 4, 9, 8))).requires_grad_()
    w = torch.from_numpy(rng.standard_normal((6, 4 // groups, 3, 2))).requires_grad_()
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = torch.nn.functional.conv2d(x, w, **options)
    grad = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    y.backward(grad)
    ours = [v.detach().numpy() for v in (x, w, grad)]
    near(fp.conv2d(ours[0], ours[1], **options), y)
    near(fp.conv2d_input(x.shape, ours[1], ours[2], **options), x.grad)
    near(fp.conv2d_weight(ours[0], w.shape, ours[2], **options), w.grad)
    x.grad = None
    w = torch.from_numpy(rng.standard_normal((4, 6 // groups, 3, 2))).requires_grad_()
    more = {**options, "output_padding": 1 if stride == 3 else 0}
    y = torch.nn.functional.conv_transpose2d(x, w, **more)
    grad = torch.from_numpy(rng.standard_normal(tuple(y.shape)))
    y.backward(grad)
    ours = [v.detach().numpy() for v in (x, w, grad)]
    near(fp.conv_transpose2d(ours[0], ours[1], **more), y)
    near(fp.conv_transpose2d_input(x.shape, ours[1], ours[2], **more), x.grad)
    near(fp.conv_transpose2d_weight(ours[0], w.shape, ours[2], **more), w.grad)


def test_gradients_of_convolutions_of_sequences_agree_with_autograd():
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.standard_normal((3, 4, 9)).astype(np.float32)).requires_grad_()
    w = torch.from_numpy(rng.standard_normal((6, 2, 3)).astype(np.float32)).requires_grad_()
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    y = torch.nn.functional.conv1d(x, w, **options)
    y.backward(torch.ones_like(y))
    ours = [v.detach().numpy() for v in (x, w, torch.ones_like(y))]
    near(fp.conv1d_input(x.shape, ours[1], ours[2], **options), x.grad)
    near(fp.conv1d_weight(ours[0], w.shape, ours[2], **options), w.grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_kin_agree_with_autograd(dtype, axis):
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.standard_normal((3, 4, 5)).astype(dtype) * 4).requires_grad_()
    grad = torch.from_numpy(rng.standard_normal((3, 4, 5)).astype(dtype))
    numbers, given = x.detach().numpy(), grad.numpy()
    near(fp.logsumexp(numbers, axis), torch.logsumexp(x, axis))
    for ours, gradient, theirs in (
        (fp.softmax, fp.softmax_grad, torch.softmax),
        (fp.log_softmax, fp.log_softmax_grad, torch.log_softmax),
    ):
        x.grad = None
        y = theirs(x, axis)
        y.backward(grad)
        near(ours(numbers, axis), y)
        near(gradient(y.detach().numpy(), given, axis), x.grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_normalizations_agree_with_autograd(dtype, shape):
    rng = np.random.default_rng(5)
    draw = lambda *size: torch.from_numpy(rng.standard_normal(size).astype(dtype))  # noqa: E731
    x, weight, bias = (draw(*n).requires_grad_() for n in ((3, 4, 5), shape, shape))
    grad = draw(3, 4, 5)
    own, given = [v.detach().numpy() for v in (x, weight, bias)], grad.numpy()
    y = torch.nn.functional.layer_norm(x, shape, weight, bias, 1e-3)
    y.backward(grad)
    near(fp.layer_norm(own[0], shape, *own[1:], eps=1e-3), y)
    for ours, theirs in zip(
        fp.layer_norm_grad(own[0], shape, given, own[1], 1e-3),
        (x.grad, weight.grad, bias.grad),
        strict=True,
    ):
        near(ours, theirs)
    x.grad = weight.grad = None
    y = torch.nn.functional.rms_norm(x, shape, weight)
    y.backward(grad)
    near(fp.rms_norm(own[0], shape, own[1]), y)
    for ours, theirs in zip(
        fp.rms_norm_grad(own[0], shape, given, own[1]), (x.grad, weight.grad), strict=True
    ):
        near(ours, theirs)


def test_the_default_eps_of_rms_norm_is_pytorchs():
    x = np.float16([2.0**-11, 2.0**-12])  # beside which eps shows
    near(
        fp.rms_norm(x, 2, accumulate="fp32", out="fp32"),
        torch.nn.functional.rms_norm(torch.from_numpy(x.astype(np.float32)), (2,)),
    )
    got = fp.rms_norm(x, 2, accumulate="fp32").to_numpy()
    assert got.tolist() == torch.nn.functional.rms_norm(torch.from_numpy(x), (2,)).tolist()


def near(got, want):
    """Equal but for the order of additions: some units in the last place of the largest element."""
    want = want.detach().numpy()
    got = np.asarray(got)
    assert got.shape == want.shape
    largest = np.abs(want).max()
    assert np.abs(got - want).max() <= 100 * np.finfo(want.dtype).eps * largest


def test_relu_of_special_values_and_its_gradient():
    values = np.float32([np.nan, -1.0, 0.0, -0.0, 2.0, np.inf, -np.inf])
    x = torch.from_numpy(values.copy()).requires_grad_()
    torch.relu(x).backward(torch.full((7,), 3.0))
    ours = fp.Tensor(values, requires_grad=True)
    (ours.relu() * np.float32(3.0)).sum().backward()
    assert ours.grad.tolist() == x.grad.tolist()
