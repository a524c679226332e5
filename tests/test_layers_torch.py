"""Every layer and loss beside PyTorch's: results, gradients, keys and shapes, in FP32 and FP64."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.autograd.tensor import Tensor

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
F = torch.nn.functional

TOLERANCE = {"fp32": 2e-5, "fp64": 1e-10}
DTYPE = {"fp32": torch.float32, "fp64": torch.float64}
INDICES = np.array([[3, 1, 1], [0, 3, 3]])
CAUSAL = np.triu(np.ones((3, 3), bool), 1)
PADDED = np.array([[False, False, True], [False, False, False]])

# Layer: how both are made, and the shapes of their inputs.
LAYERS = {
    "Linear": ((5, 3), {}, [(2, 4, 5)]),
    "BatchNorm1d": ((3,), {}, [(5, 3)]),
    "BatchNorm2d": ((3,), {"momentum": 0.3, "eps": 1e-3}, [(2, 3, 4, 2)]),
    "LayerNorm": (((4, 3),), {}, [(2, 4, 3)]),
    "RMSNorm": ((6,), {}, [(2, 3, 6)]),
    "GroupNorm": ((2, 4), {}, [(3, 4, 2, 2)]),
    "ReLU": ((), {}, [(3, 4)]),
    "LeakyReLU": ((0.2,), {}, [(3, 4)]),
    "GELU": ((), {}, [(3, 4)]),
    "GELU tanh": ((), {"approximate": "tanh"}, [(3, 4)]),
    "SiLU": ((), {}, [(3, 4)]),
    "Softplus": ((2.0, 1.0), {}, [(3, 4)]),
    "Tanh": ((), {}, [(3, 4)]),
    "Sigmoid": ((), {}, [(3, 4)]),
    "Softmax": ((), {"dim": 1}, [(3, 4, 2)]),
    "LogSoftmax": ((), {"dim": -1}, [(3, 4)]),
    "Flatten": ((), {}, [(3, 4, 2)]),
    "Identity": ((), {}, [(3, 4)]),
    "LSTMCell": ((3, 4), {}, [(5, 3), ((5, 4), (5, 4))]),
    "GRUCell": ((3, 4), {}, [(5, 3), (5, 4)]),
    "GRUCell without bias": ((3, 4), {"bias": False}, [(3,), (4,)]),
}


def drawn(shape, rng):
    if shape and isinstance(shape[0], tuple):
        return tuple(drawn(s, rng) for s in shape)
    return rng.standard_normal(shape)


def each(x, change):
    return tuple(change(v) for v in x) if isinstance(x, tuple) else change(x)


def flat(x):
    return [v for y in x for v in flat(y)] if isinstance(x, (tuple, list)) else [x]


class Pair:
    """A layer of ours and PyTorch's with the same weights, and the same inputs for both."""

    def __init__(self, name: str, f: str, args, options, shapes) -> None:
        kind = name.split()[0]
        fp.manual_seed(1)
        rng = np.random.default_rng(0)
        self.f, self.rng = f, rng
        self.ours = getattr(nn, kind)(*args, **options)
        self.theirs = getattr(torch.nn, kind)(*args, **options).to(DTYPE[f])
        for t in dict(self.ours._tensors()).values():
            if t.format != fp.FP64:
                t.data = fp.array(t.data, f)
        for p in self.theirs.parameters():  # no ones and zeros, which hide mistakes
            p.data = torch.from_numpy(rng.standard_normal(tuple(p.shape))).to(p.dtype) * 0.5
        self.same_keys()
        self.ours.load_state_dict(self.theirs.state_dict())
        numbers = [drawn(s, rng) for s in shapes]
        round_ = lambda v: fp.quantize(v, f)  # noqa: E731
        self.mine = [
            each(x, lambda v: Tensor(fp.array(round_(v), f), requires_grad=True)) for x in numbers
        ]
        self.yours = [
            each(x, lambda v: torch.tensor(round_(v), dtype=DTYPE[f], requires_grad=True))
            for x in numbers
        ]

    def same_keys(self) -> None:
        own, other = self.ours.state_dict(), self.theirs.state_dict()
        assert [(k, v.shape) for k, v in own.items()] == [
            (k, tuple(v.shape)) for k, v in other.items()
        ]

    def near(self, got, want, what) -> None:
        got, want = np.asarray(got), want.detach().numpy()
        assert got.shape == want.shape, what
        largest = max(np.abs(want).max(), 1e-3)
        assert np.abs(got - want).max() <= TOLERANCE[self.f] * largest, what

    def compare(self, run_ours, run_theirs) -> None:
        """Results, then gradients of a random combination of them."""
        with fp.policies[self.f]:
            own, other = flat(run_ours(self.ours)), flat(run_theirs(self.theirs))
            total, torch_total = 0, 0
            for i, (y, z) in enumerate(zip(own, other, strict=True)):
                self.near(y, z, f"result {i}")
                share = fp.quantize(self.rng.standard_normal(y.shape), self.f)
                total = total + (y * fp.array(share, self.f)).sum()
                torch_total = torch_total + (z * torch.from_numpy(share)).sum()
            total.backward()
            torch_total.backward()
        for i, (x, z) in enumerate(zip(flat(self.mine), flat(self.yours), strict=True)):
            if z.grad is not None:
                self.near(x.grad, z.grad, f"gradient of input {i}")
        theirs = dict(self.theirs.named_parameters())
        for key, p in self.ours.named_parameters():
            self.near(p.grad, theirs[key].grad, f"gradient of {key}")
        for key, buffer in self.ours.named_buffers():
            self.near(buffer, dict(self.theirs.named_buffers())[key], key)
        self.theirs.load_state_dict(
            {k: torch.from_numpy(np.asarray(v)) for k, v in self.ours.state_dict().items()}
        )


@pytest.mark.parametrize("f", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_pytorchs_numbers(name, f):
    pair = Pair(name, f, *LAYERS[name])
    pair.compare(lambda layer: layer(*pair.mine), lambda layer: layer(*pair.yours))


@pytest.mark.parametrize("f", TOLERANCE)
def test_batch_norm_in_use_and_averaging(f):
    pair = Pair("BatchNorm1d", f, (3,), {"momentum": None}, [(4, 3, 2)])
    for _ in range(3):
        x = fp.quantize(pair.rng.standard_normal((5, 3)), f)
        with fp.policies[f]:
            pair.ours(fp.array(x, f))
        pair.theirs(torch.from_numpy(x))
    pair.ours.eval()
    pair.theirs.eval()
    pair.compare(lambda layer: layer(*pair.mine), lambda layer: layer(*pair.yours))


@pytest.mark.parametrize("f", TOLERANCE)
@pytest.mark.parametrize("padding", [None, 1, -1])
def test_an_embedding(f, padding):
    pair = Pair("Embedding", f, (4, 3), {"padding_idx": padding}, [])
    pair.compare(lambda layer: layer(INDICES), lambda layer: layer(torch.from_numpy(INDICES)))


@pytest.mark.parametrize("f", TOLERANCE)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", [{}, {"attn_mask": CAUSAL}, {"key_padding_mask": PADDED}])
def test_attention_of_a_sequence_to_itself(f, batch_first, masks):
    shape = (2, 3, 4) if batch_first else (3, 2, 4)
    pair = Pair("MultiheadAttention", f, (4, 2), {"batch_first": batch_first}, [shape])
    theirs = {k: torch.from_numpy(v) for k, v in masks.items()}
    x, z = pair.mine[0], pair.yours[0]
    pair.compare(lambda layer: layer(x, x, x, **masks), lambda layer: layer(z, z, z, **theirs))


@pytest.mark.parametrize("f", TOLERANCE)
def test_attention_to_another_sequence(f):
    pair = Pair("MultiheadAttention", f, (4, 2), {}, [(2, 4), (5, 4), (5, 4)])
    mask = pair.rng.standard_normal((2, 5)).astype(np.float32)
    pair.compare(
        lambda layer: layer(*pair.mine, attn_mask=mask),
        lambda layer: layer(*pair.yours, attn_mask=torch.from_numpy(mask).to(DTYPE[f])),
    )


@pytest.mark.parametrize("f", TOLERANCE)
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_layer(f, norm_first):
    options = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first, "activation": "gelu"}
    pair = Pair("TransformerEncoderLayer", f, (4, 2, 6), options, [(2, 3, 4)])
    mask = torch.from_numpy(CAUSAL)
    pair.compare(
        lambda layer: layer(*pair.mine, is_causal=True),
        lambda layer: layer(*pair.yours, src_mask=mask, is_causal=True),
    )


CLASSES = np.array([0, 3, 2, 3])
WEIGHTS = np.float32([0.5, 2.0, 1.0, 0.25])
REDUCTIONS = ("mean", "sum", "none")
LOSSES = [
    ("cross_entropy", {}, CLASSES),
    ("cross_entropy", {"weight": WEIGHTS, "ignore_index": 2}, CLASSES),
    ("cross_entropy", {"label_smoothing": 0.25}, CLASSES),
    ("cross_entropy", {"label_smoothing": 0.25, "weight": WEIGHTS, "ignore_index": 3}, CLASSES),
    ("nll_loss", {}, CLASSES),
    ("nll_loss", {"weight": WEIGHTS, "ignore_index": 0}, CLASSES),
    ("binary_cross_entropy_with_logits", {}, CLASSES[:, None] > WEIGHTS),
    ("binary_cross_entropy_with_logits", {"weight": WEIGHTS, "pos_weight": WEIGHTS + 1}, "uniform"),
    ("mse_loss", {}, "normal"),
    ("huber_loss", {"delta": 0.75}, "normal"),
    ("smooth_l1_loss", {"beta": 0.75}, "normal"),
]
MODULES = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
    "mse_loss": "MSELoss",
    "huber_loss": "HuberLoss",
    "smooth_l1_loss": "SmoothL1Loss",
}


@pytest.mark.parametrize("f", TOLERANCE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "options", "target"), LOSSES)
def test_a_loss_gives_pytorchs_numbers(name, options, target, reduction, f):
    pair = Pair("Identity", f, (), {}, [(4, 4)])
    if isinstance(target, str):
        target = fp.quantize(getattr(pair.rng, target)(size=(4, 4)), f)
    given = torch.from_numpy(np.asarray(target))
    if name.startswith(("binary", "mse")):
        given = given.to(DTYPE[f])
    theirs = {
        k: torch.from_numpy(v).to(DTYPE[f]) if isinstance(v, np.ndarray) else v
        for k, v in options.items()
    }
    pair.compare(
        lambda layer: getattr(nn, name)(*pair.mine, target, **options, reduction=reduction),
        lambda layer: getattr(F, name)(*pair.yours, given, **theirs, reduction=reduction),
    )
    module = getattr(nn, MODULES[name])(reduction=reduction, **options)
    same = getattr(torch.nn, MODULES[name])(reduction=reduction, **theirs)
    with fp.policies[f]:
        pair.near(module(pair.mine[0], target), same(pair.yours[0], given), "the module")


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_images(reduction):
    pair = Pair("Identity", "fp32", (), {}, [(2, 3, 2, 2)])
    target = np.arange(8).reshape(2, 2, 2) % 3
    pair.compare(
        lambda layer: nn.cross_entropy(*pair.mine, target, reduction=reduction),
        lambda layer: F.cross_entropy(*pair.yours, torch.from_numpy(target), reduction=reduction),
    )


def test_the_comparison_catches_a_wrong_layer():
    pair = Pair("LayerNorm", "fp32", (4,), {}, [(2, 4)])
    pair.ours.eps = 1e-3  # planted
    with pytest.raises(AssertionError, match="result 0"):
        pair.compare(lambda layer: layer(*pair.mine), lambda layer: layer(*pair.yours))


class Small(nn.Module):
    """A Transformer of one block that predicts the next of 7 symbols; `kit` is ours or PyTorch's."""

    def __init__(self):
        parts(self, nn)

    def forward(self, x):
        return run(self, x)

    def _read(self, x):
        return x


def parts(model, kit):
    model.embedding = kit.Embedding(7, 8)
    model.block = kit.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    model.norm = kit.LayerNorm(8)
    model.head = kit.Linear(8, 7)


def run(model, x, **options):
    return model.head(model.norm(model.block(model.embedding(x), is_causal=True, **options)))


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        parts(self, torch.nn)

    def forward(self, x):
        return run(self, x, src_mask=torch.triu(torch.ones(5, 5, dtype=torch.bool), 1))


def test_twenty_steps_of_a_transformer_stay_with_pytorch():
    torch.manual_seed(0)
    ours, theirs = Small(), Theirs()
    ours.load_state_dict(theirs.state_dict())
    own, other = optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    rng = np.random.default_rng(4)
    first = None
    for _ in range(20):
        x = rng.integers(0, 7, (4, 6))
        ours.zero_grad()
        other.zero_grad()
        loss = nn.cross_entropy(ours(x[:, :-1]).reshape(-1, 7), x[:, :-1].reshape(-1))
        z = theirs(torch.from_numpy(x[:, :-1]))
        torch_loss = F.cross_entropy(z.reshape(-1, 7), torch.from_numpy(x[:, :-1]).reshape(-1))
        loss.backward()
        torch_loss.backward()
        assert abs(loss.item() - torch_loss.item()) <= 2e-5 * torch_loss.item()
        gradients = dict(theirs.named_parameters())
        for key, p in ours.named_parameters():
            want = gradients[key].grad.numpy()
            # The smallest is rounding alone: a softmax does not see a bias of its keys.
            assert np.abs(p.grad.to_numpy() - want).max() <= 2e-5 * max(np.abs(want).max(), 1e-2)
        own.step()
        other.step()
        first = first or loss.item()
    assert loss.item() < 0.8 * first
