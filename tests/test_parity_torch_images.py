"""Convolution and pooling layers give PyTorch's numbers; runs where the extra "torch" is installed."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.autograd.operations import TABLE
from fpemu.autograd.site import plain_site

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
rng = np.random.default_rng(12)

IMAGES, SEQUENCES = (2, 4, 9, 8), (2, 4, 11)
LAYERS = [
    ("Conv2d", IMAGES, (4, 6, 3), {}),
    ("Conv2d", IMAGES, (4, 6, (3, 2), (2, 1), (1, 2), (1, 3), 2), {}),
    ("Conv2d", IMAGES, (4, 8, (2, 4)), {"padding": "same", "dilation": (3, 1), "groups": 4}),
    ("Conv2d", IMAGES, (4, 3, 5, 3), {"padding": "valid", "bias": False}),
    ("Conv1d", SEQUENCES, (4, 6, 3, 2, 2, 2, 2), {}),
    ("Conv1d", SEQUENCES, (4, 2, 4), {"padding": "same"}),
    ("ConvTranspose2d", IMAGES, (4, 6, 3), {}),
    ("ConvTranspose2d", IMAGES, (4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (1, 2)), {}),
    ("MaxPool2d", IMAGES, (2,), {}),
    ("MaxPool2d", IMAGES, ((3, 2), (1, 2), (1, 0), (2, 1)), {}),
    ("MaxPool2d", IMAGES, (3, 2, 1), {"ceil_mode": True}),
    ("MaxPool2d", IMAGES, (2, 3), {"ceil_mode": True}),
    ("MaxPool1d", SEQUENCES, (3, 2, 1), {}),
    ("AvgPool2d", IMAGES, (3,), {}),
    ("AvgPool2d", IMAGES, ((3, 2), (1, 2), (1, 1)), {"count_include_pad": False}),
    ("AvgPool2d", IMAGES, (3, 2, 1, True), {}),
    ("AvgPool2d", IMAGES, (2, 3, 1, True, False), {}),
    ("AvgPool2d", IMAGES, (2, 1), {"divisor_override": 3}),
    ("AvgPool1d", SEQUENCES, (4, 3, 2, True), {}),
    ("AdaptiveAvgPool2d", IMAGES, ((4, 3),), {}),
    ("AdaptiveAvgPool2d", IMAGES, ((None, 11),), {}),
    ("AdaptiveAvgPool2d", IMAGES, (1,), {}),
    ("AdaptiveMaxPool2d", IMAGES, ((4, 3),), {}),
    ("AdaptiveMaxPool2d", IMAGES, ((2, None),), {}),
]


def near(got, want, dtype):
    """Equal but for the order of additions."""
    got, want = np.asarray(got), want.detach().numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 50 * np.finfo(dtype).eps * max(np.abs(want).max(), 1)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "shape", "arguments", "options"), LAYERS)
def test_layers_and_their_gradients(name, shape, arguments, options, dtype):
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options).to(
        torch.from_numpy(np.ones(1, dtype)).dtype
    )
    policy = fp.policies["fp32" if dtype == np.float32 else "fp64"]
    ours.store_in(policy.weights)
    drawn = {
        key: rng.standard_normal(v.shape).astype(dtype) for key, v in ours.state_dict().items()
    }
    theirs.load_state_dict({key: torch.from_numpy(v) for key, v in drawn.items()})
    ours.load_state_dict(theirs.state_dict())
    numbers = rng.standard_normal(shape).astype(dtype)
    x, t = fp.Tensor(numbers, requires_grad=True), torch.from_numpy(numbers).requires_grad_()
    with policy:
        y = ours(x)
        (y * y).sum().backward()
    want = theirs(t)
    (want * want).sum().backward()
    near(y, want, dtype)
    near(x.grad, t.grad, dtype)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        near(p.grad, q.grad, dtype)


def test_nan_and_equal_elements_go_where_pytorchs_go():
    numbers = rng.integers(-1, 2, (2, 3, 8, 8)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    numbers[rng.random(numbers.shape) < 0.2] = -np.inf
    for layer, theirs in (
        (nn.MaxPool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)),
        (nn.AdaptiveMaxPool2d((3, 5)), torch.nn.AdaptiveMaxPool2d((3, 5))),
    ):
        x, t = fp.Tensor(numbers, requires_grad=True), torch.from_numpy(numbers).requires_grad_()
        y, want = layer(x), theirs(t)
        assert np.array_equal(y.numpy(), want.detach().numpy(), equal_nan=True)
        weights = rng.standard_normal(want.shape).astype(np.float32)
        want.backward(torch.from_numpy(weights))
        operation, site = TABLE[layer.place], plain_site("here", fp.FP32)
        _, saved = operation.forward(site, fp.array(numbers, "fp32"), **layer.options)
        (back,) = operation.backward(site, saved, fp.array(weights, "fp32"), (True,))
        assert back.tolist() == t.grad.tolist()  # the same additions in the same order


def test_twenty_steps_of_a_network_with_batch_norm_stay_with_pytorch():
    def built(of):
        return of.Sequential(
            of.Conv2d(1, 4, 3, padding=1), of.BatchNorm2d(4), of.ReLU(), of.MaxPool2d(2),
            of.Conv2d(4, 8, 3, groups=2), of.BatchNorm2d(8), of.ReLU(), of.AvgPool2d(2),
            of.Flatten(), of.Linear(32, 5),
        )  # fmt: skip

    fp.manual_seed(3)
    ours, theirs = built(nn), built(torch.nn)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    sgd = optim.SGD(ours.parameters(), lr=0.05, momentum=0.9)
    torch_sgd = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    x = rng.standard_normal((16, 1, 12, 12)).astype(np.float32)
    y = rng.integers(0, 5, 16)
    for _ in range(20):
        ours.zero_grad()
        loss = nn.cross_entropy(ours(x), y)
        loss.backward()
        torch_sgd.zero_grad()
        want = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        want.backward()
        assert abs(loss.item() - want.item()) <= 2e-5 * want.item()
        wanted = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
        # Biases before a batch norm have no gradient but rounding: the largest of all is the measure.
        largest = max(np.abs(g).max() for g in wanted.values())
        for key, p in ours.named_parameters():
            assert np.abs(p.grad.to_numpy() - wanted[key]).max() <= 2e-5 * largest, key
        sgd.step()
        torch_sgd.step()
    for key, value in ours.eval().state_dict().items():
        assert np.abs(value - theirs.state_dict()[key].numpy()).max() <= 2e-5 * max(
            1.0, np.abs(value).max()
        )
