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


def near(got, want):
    """Equal but for the order of additions: some units in the last place of the largest element."""
    want = want.detach().numpy()
    got = np.asarray(got)
    assert got.shape == want.shape
    largest = np.abs(want).max()
    assert np.abs(got - want).max() <= 100 * np.finfo(want.dtype).eps * largest
