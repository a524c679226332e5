"""Initial values by their distributions, and models as text."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn
from fpemu.nn import init


def tensor(*shape, f=fp.FP64):
    return fp.Tensor(fp.array(np.zeros(shape), f), requires_grad=True)


def distance(values: np.ndarray, share) -> float:
    """The largest difference between the share of values below x and `share(x)` (Kolmogorov, Smirnov)."""
    x = np.sort(values.reshape(-1))
    want = np.array([share(v) for v in x.tolist()])
    n = len(x)
    return max(np.abs(want - np.arange(n) / n).max(), np.abs(want - np.arange(1, n + 1) / n).max())


def normal_share(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


FAN_IN, FAN_OUT = 50 * 2, 100 * 2
UNIFORM = {
    "uniform_": (lambda t: init.uniform_(t, -0.5, 0.5), 0.5),
    "xavier_uniform_": (
        lambda t: init.xavier_uniform_(t, 2.0),
        2 * math.sqrt(6 / (FAN_IN + FAN_OUT)),
    ),
    "kaiming_uniform_": (init.kaiming_uniform_, math.sqrt(6 / FAN_IN)),
    "kaiming_uniform_ relu": (
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
        math.sqrt(6 / FAN_OUT),
    ),
}
NORMAL = {
    "normal_": (lambda t: init.normal_(t, 3.0, 0.5), 3.0, 0.5),
    "xavier_normal_": (init.xavier_normal_, 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "kaiming_normal_": (
        lambda t: init.kaiming_normal_(t, math.sqrt(5)),
        0.0,
        math.sqrt(2 / 6 / FAN_IN),
    ),
}
CLOSE = 1.95 / math.sqrt(100 * 50 * 2)  # exceeded once in a thousand


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_initialisers(name):
    fp.manual_seed(5)
    fill, bound = UNIFORM[name]
    t = tensor(100, 50, 2)
    assert fill(t) is t
    assert np.abs(t.numpy()).max() < bound
    assert distance(t.numpy() / bound, lambda x: (x + 1) / 2) < CLOSE


@pytest.mark.parametrize("name", NORMAL)
def test_normal_initialisers(name):
    fp.manual_seed(6)
    fill, mean, std = NORMAL[name]
    t = tensor(100, 50, 2)
    assert fill(t) is t
    assert distance((t.numpy() - mean) / std, normal_share) < CLOSE
    # The test sees a tenth too much.
    assert distance((t.numpy() - mean) / (1.1 * std), normal_share) > CLOSE


def test_the_spread_of_normal_numbers():
    fp.manual_seed(8)
    values = init.normal_(tensor(400_000)).numpy()
    assert abs(values.std() - 1) < 0.005  # over four standard errors
    assert abs((values**4).mean() - 3) < 0.08


def test_truncated_orthogonal_and_constant():
    fp.manual_seed(7)
    values = init.trunc_normal_(tensor(100, 100), 0.5, 1.0, -1.0, 1.0).numpy()
    assert np.abs(values).max() <= 1
    low, high = normal_share(-1.5), normal_share(0.5)
    assert distance(values, lambda x: (normal_share(x - 0.5) - low) / (high - low)) < CLOSE
    for shape in ((3, 5), (5, 3), (4, 2, 3)):
        q = init.orthogonal_(tensor(*shape), 2.0).numpy().reshape(shape[0], -1)
        q = q if len(q) <= q.shape[1] else q.T
        assert np.abs(q @ q.T - 4 * np.eye(len(q))).max() < 1e-12
    assert init.ones_(tensor(2)).data.tolist() == [1.0, 1.0]
    assert init.zeros_(tensor(2)).data.tolist() == [0.0, 0.0]
    assert init.constant_(tensor(1, f=fp.FP16), 0.1).item() == fp.quantize(0.1, "fp16")


def test_a_seed_gives_the_same_values_in_any_format():
    def drawn(seed, f):
        fp.manual_seed(seed)
        return init.normal_(tensor(40, f=f)).numpy()

    assert (drawn(1, fp.FP64) == drawn(1, fp.FP64)).all()
    assert (drawn(1, fp.FP64) != drawn(2, fp.FP64)).all()
    assert (drawn(1, fp.BF16) == fp.quantize(drawn(1, fp.FP64), "bf16")).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_normal_(tensor(3)), "weights with at least 2 axes, got shape (3,)"),
        (lambda: init.kaiming_normal_(tensor(3, 3), mode="fan"), "unknown mode 'fan'"),
        (lambda: init.calculate_gain("sine"), "unknown nonlinearity 'sine'"),
        (lambda: init.trunc_normal_(tensor(3), a=5.0, b=6.0), "within two standard deviations"),
        (lambda: init.orthogonal_(tensor(3)), "at least 2 axes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.torch
def test_gains_and_fans_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in init.GAINS:
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    for shape in ((3, 4), (3, 4, 5, 6)):
        want = torch.nn.init._calculate_fan_in_and_fan_out(torch.zeros(shape))
        assert init.fans(tensor(*shape)) == want


# -- models as text --------------------------------------------------------------------------------


def test_a_model_prints_as_a_tree():
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Residual(nn.Linear(8, 8, bias=False), nn.GELU())
    )
    model[0].store_in("bf16")
    assert str(model) == (
        "Sequential(\n"
        "  (0): Linear(4, 8)  # 40 parameters in bf16\n"
        "  (1): BatchNorm1d(8, eps=1e-05, momentum=0.1)  # 16 parameters in fp32\n"
        "  (2): Residual(\n"
        "    (inner): Sequential(\n"
        "      (0): Linear(8, 8, bias=False)  # 64 parameters in fp32\n"
        "      (1): GELU()\n"
        "    )\n"
        "  )\n"
        ")\n"
        "120 parameters, 400 bytes"
    )
    assert repr(model[0]) == "Linear(4, 8)"


def test_a_layer_of_layers_says_its_own_first():
    lines = str(nn.MultiheadAttention(4, 2)).splitlines()
    assert lines[:3] == [
        "MultiheadAttention(",
        "  4, 2  # 60 parameters in fp32",
        "  (out_proj): Linear(4, 4)  # 20 parameters in fp32",
    ]


def test_a_summary_counts_shared_parameters_once():
    first = nn.Linear(3, 3)
    second = nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    second.weight.name = "again"
    lines = nn.summary(nn.Sequential(first, second, nn.BatchNorm1d(3), nn.ReLU())).splitlines()
    cells = [line.split("  ") for line in lines[2:]]
    counts = [[c.strip() for c in row if c.strip()][-2] for row in cells]
    assert counts == ["12", "-", "6", "-", "18"]
    assert "running_mean (3), running_var (3), num_batches_tracked ()" in lines[4]


def test_modules_where_they_would_not_be_found():
    class Hidden(nn.Module):
        def __init__(self, layers):
            self.layers = layers

    for layers in ([nn.ReLU()], (nn.Linear(2, 2),), {"a": nn.ReLU()}):
        with pytest.raises(fp.ArgumentError, match=r"Hidden.layers: modules in a .*nn.ModuleList"):
            Hidden(layers)
    model = Hidden(nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)]))
    assert [p.name for p in model.parameters()][2] == "model.layers.1/weight"
    assert len(model.layers) == 2
    assert model.layers[0].place == "model.layers.0"
    model.layers.append(nn.ReLU())
    assert model.layers[2].place == "model.layers.2"
    with pytest.raises(fp.ArgumentError, match="takes modules, got 3"):
        nn.ModuleList([3])
    with pytest.raises(fp.UnsupportedError, match="Hidden at 'model' has no forward"):
        model(np.zeros((1, 2)))


def test_tensors_do_not_leave_the_graph_unseen():
    x = fp.Tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(fp.UnsupportedError, match=r"numpy\.concatenate is not differentiable here"):
        np.concatenate([x, x])
    with pytest.raises(fp.ArgumentError, match=r"shape \(2, 3\) is neither true nor false"):
        bool(x)
    assert not fp.Tensor(np.float32([0.0]))
