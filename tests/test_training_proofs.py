"""Whole training steps: against loops of NumPy's float16, under loss scales, on one thread and two."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.accumulation import threads
from fpemu.autograd.tensor import Tensor
from fpemu.data import bars

H = np.float16


def rounded_product(a, b):
    """``a @ b``, products and sums of float16 one after another."""
    total = np.zeros((a.shape[0], b.shape[1]), H)
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1] * b[k : k + 1]
    return total


def test_steps_of_a_network_in_fp16_are_loops_of_numpy_float16():
    rng = np.random.default_rng(3)
    x, wanted = rng.standard_normal((5, 7)).astype(H), rng.standard_normal((5, 3)).astype(H)
    fp.manual_seed(1)
    model = nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    model.store_in("fp16")
    w1, b1, w2, b2 = (p.numpy().astype(H) for p in model.parameters())
    v = [np.zeros_like(p) for p in (w1, b1, w2, b2)]
    sgd = optim.SGD(model.parameters(), lr=0.25, momentum=0.5)
    for _ in range(4):
        model.zero_grad()
        with fp.policies["fp16"]:
            (model(Tensor(x)) * wanted).sum().backward()
            sgd.step()
        hidden = rounded_product(x, w1.T) + b1
        active = np.maximum(hidden, H(0))
        below = rounded_product(wanted, w2) * (hidden > 0)
        ones = np.ones((1, 5), H)
        gradients = (
            rounded_product(below.T, x),
            rounded_product(ones, below)[0],
            rounded_product(wanted.T, active),
            rounded_product(ones, wanted)[0],
        )
        weights = (w1, b1, w2, b2)
        for p, g, ours in zip(weights, gradients, model.parameters(), strict=True):
            assert ours.grad is not None
            assert (ours.grad.to_numpy().astype(H) == g).all()
            assert p.dtype == g.dtype == H
        v = [H(0.5) * old + g for old, g in zip(v, gradients, strict=True)]
        w1, b1, w2, b2 = (p - H(0.25) * u for p, u in zip(weights, v, strict=True))
        for p, ours in zip((w1, b1, w2, b2), model.parameters(), strict=True):
            assert (ours.numpy().astype(H) == p).all()


def trained(policy: str, **options) -> dict[str, bytes]:
    fp.manual_seed(0)
    data = bars(rows=120, seed=0)
    model = nn.cnn(data.shape, data.classes, (4,))
    sgd = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    fp.train(model, data, policy=policy, optimizer=sgd, epochs=2, batch_size=24, **options)
    return {name: value.tobytes() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("policy", ["fp32", "bf16_master", "bf16", "tf32"])
def test_a_loss_scale_with_nothing_out_of_range_changes_no_weight(policy):
    plain = trained(policy)
    assert trained(f"{policy} loss_scale=2^12") == plain
    assert trained(f"{policy} loss_scale=1000") != plain  # no power of two: rounding differs


@pytest.mark.parametrize(
    "policy",
    [
        "fp16",
        "bf16 rounding=stochastic",
        "fp16_master accumulate='h100 wgmma'",
        "fp8_hybrid",
        "weights=fp16 activations=fp16 gradients=fp16 accumulate='fp16 kahan'",
    ],
)
def test_one_thread_and_two_train_to_the_same_bits(policy, monkeypatch):
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "threads", lambda count=count: count)
        found.append(trained(policy))
    assert found[0] == found[1] == found[2]
