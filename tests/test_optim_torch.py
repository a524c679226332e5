"""Optimizers, clipping and schedules against PyTorch's; runs where the extra "torch" is installed.

PyTorch's kernels fuse a product with the sum that it goes into on processors that can, and its CPU square
root (MKL's) is not correctly rounded. With fma as the processor has it and NumPy's root in place of MKL's
every FP32 weight must agree to the last bit; with PyTorch as it is, within 2e-5.
"""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import optim

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

STEPS, SHAPES = 50, [(7, 5), (19,)]


def fuses() -> bool:
    """Whether ``a + alpha * b`` of PyTorch's rounds once."""
    a, b = torch.full((64,), -1.0), torch.full((64,), 1 + 2.0**-23)
    return bool((a.add(b, alpha=1 - 2.0**-23) != 0).all())


FMA = fuses()

CASES = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.5, "maximize": True},
    ],
    "Adam": [
        {},
        {"lr": 0.01, "betas": (0.3, 0.95), "eps": 1e-6},
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.01, "amsgrad": True},
        {"lr": 0.01, "maximize": True},
    ],
    "AdamW": [{}, {"lr": 0.01, "weight_decay": 0.1}, {"lr": 0.01, "amsgrad": True}],
    "RMSprop": [
        {},
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-5, "weight_decay": 0.1},
        {"momentum": 0.9},
        {"centered": True},
        {"centered": True, "momentum": 0.9, "maximize": True},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1},
        {"initial_accumulator_value": 0.5, "eps": 1e-3, "maximize": True},
    ],
}
ALL = [(name, options) for name, cases in CASES.items() for options in cases]


def pair(seed: int = 0):
    """The same weights for both."""
    rng = np.random.default_rng(seed)
    start = [rng.standard_normal(shape).astype(np.float32) for shape in SHAPES]
    ours = [
        fp.Tensor(v, requires_grad=True, name=f"layers.{i}/weight") for i, v in enumerate(start)
    ]
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in start]
    return ours, theirs


def give_gradients(ours, theirs, step: int) -> None:
    rng = np.random.default_rng(1000 + step)
    for p, q in zip(ours, theirs, strict=True):
        g = rng.standard_normal(p.shape).astype(np.float32) * np.float32(
            10.0 ** rng.integers(-3, 2)
        )
        p.grad, q.grad = fp.asarray(g), torch.from_numpy(g.copy())


def run(name, options, *, fma: bool = FMA, steps: int = STEPS, seed: int = 0):
    ours, theirs = pair(seed)
    mine = getattr(optim, name)(ours, fma=fma, **options)
    other = getattr(torch.optim, name)(theirs, foreach=False, **options)
    for step in range(steps):
        give_gradients(ours, theirs, step)
        mine.step()
        other.step()
    return ours, theirs, mine, other


@pytest.fixture
def rounded_roots(monkeypatch):
    """PyTorch with a correctly rounded square root."""

    def root(x):
        return torch.from_numpy(np.sqrt(x.detach().numpy()))

    monkeypatch.setattr(torch.Tensor, "sqrt", root)
    monkeypatch.setattr(torch.Tensor, "sqrt_", lambda x: x.copy_(root(x)))


@pytest.mark.parametrize(("name", "options"), ALL)
def test_fp32_agrees_to_the_last_bit(name, options, rounded_roots):
    ours, theirs, *_ = run(name, options)
    for p, q in zip(ours, theirs, strict=True):
        assert np.asarray(p.data).tobytes() == q.detach().numpy().tobytes()


@pytest.mark.parametrize(("name", "options"), ALL)
def test_fp32_step_by_step_stays_with_pytorch_as_it_is(name, options):
    ours, theirs, *_ = run(name, options, fma=False)
    for p, q in zip(ours, theirs, strict=True):
        got, want = np.asarray(p.data), q.detach().numpy()
        assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("f", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("name", "options"), [("Adam", {"lr": 0.01}), ("AdamW", {"lr": 0.01})])
def test_update_in_fp32_is_the_fused_kernel_to_the_last_bit(name, options, f):
    """PyTorch as it is: its fused kernel has a correctly rounded root. (Whole vectors only: in what is left
    over the compiler fuses other products.)"""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[f]
    rng = np.random.default_rng(1)
    p = fp.Tensor(fp.array(rng.standard_normal(192), f), requires_grad=True, name="l/weight")
    q = torch.from_numpy(p.data.to_numpy()).to(dtype).requires_grad_()
    mine = getattr(optim, name)([p], fma=FMA, **options)
    other = getattr(torch.optim, name)([q], fused=True, **options)
    with fp.Policy.parse("fp32 update_in=fp32"):
        for _ in range(20):
            p.grad = fp.array(rng.standard_normal(192) * 0.1, f)
            q.grad = torch.from_numpy(p.grad.to_numpy()).to(dtype)
            mine.step()
            other.step()
    assert p.data.to_numpy().tobytes() == q.detach().float().numpy().tobytes()
    for key in ("exp_avg", "exp_avg_sq"):
        kept = mine.state[p][key]
        assert kept.format.name == f
        assert kept.to_numpy().tobytes() == other.state[q][key].float().numpy().tobytes()


@pytest.mark.parametrize(
    ("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {"amsgrad": True}), ("Adagrad", {})]
)
def test_a_state_of_pytorchs_is_gone_on_from(name, options, rounded_roots):
    ours, theirs, _, other = run(name, options, steps=3)
    fresh = getattr(optim, name)(ours, fma=FMA)
    fresh.load_state_dict(other.state_dict())
    for step in range(3, 6):
        give_gradients(ours, theirs, step)
        fresh.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        assert np.asarray(p.data).tobytes() == q.detach().numpy().tobytes()


def test_groups_as_in_pytorch(rounded_roots):
    ours, theirs = pair()
    mine = optim.SGD([{"params": ours[:1], "lr": 0.5}, {"params": ours[1:]}], lr=0.1, fma=FMA)
    groups = [{"params": theirs[:1], "lr": 0.5}, {"params": theirs[1:]}]
    other = torch.optim.SGD(groups, lr=0.1, foreach=False)
    for step in range(3):
        give_gradients(ours, theirs, step)
        mine.param_groups[1]["lr"] = other.param_groups[1]["lr"] = 0.1 / (1 + step)
        mine.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        assert np.asarray(p.data).tobytes() == q.detach().numpy().tobytes()


# -- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_by_norm(kind, max_norm):
    ours, theirs = pair()
    give_gradients(ours, theirs, 4)
    norm = optim.clip_grad_norm_(ours, max_norm, norm_type=kind)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type=kind).item()
    assert abs(norm.item() - want) < 1e-6 * want
    for p, q in zip(ours, theirs, strict=True):
        got = np.asarray(p.grad)
        if kind == float("inf") or max_norm == 1e6:
            assert got.tobytes() == q.grad.numpy().tobytes()
        assert np.allclose(got, q.grad.numpy(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_clipping_what_is_not_finite(odd):
    ours, theirs = pair()
    give_gradients(ours, theirs, 4)
    g = np.asarray(ours[0].grad).copy()
    g[0, 0] = odd
    ours[0].grad, theirs[0].grad = fp.asarray(g), torch.from_numpy(g.copy())
    with pytest.raises(fp.ArgumentError, match=r"the gradients have the norm (inf|nan), by which"):
        optim.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert np.array_equal(np.asarray(ours[0].grad), g, equal_nan=True)
    optim.clip_grad_norm_(ours, 1.0)
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    for p, q in zip(ours, theirs, strict=True):
        assert np.array_equal(np.asarray(p.grad), q.grad.numpy(), equal_nan=True)
    ours[0].grad, theirs[0].grad = fp.asarray(g), torch.from_numpy(g.copy())
    optim.clip_grad_value_(ours, 0.25)
    torch.nn.utils.clip_grad_value_(theirs, 0.25)
    for p, q in zip(ours, theirs, strict=True):
        assert np.array_equal(np.asarray(p.grad), q.grad.numpy(), equal_nan=True)


# -- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    "StepLR": [{"step_size": 3, "gamma": 0.7}],
    "MultiStepLR": [{"milestones": [2, 5, 5, 11], "gamma": 0.3}],
    "ExponentialLR": [{"gamma": 0.93}],
    "LinearLR": [{}, {"start_factor": 0.01, "end_factor": 0.8, "total_iters": 13}],
    "CosineAnnealingLR": [{"T_max": 17}, {"T_max": 9, "eta_min": 0.001}],
    "LambdaLR": [{"lr_lambda": lambda e: 0.95**e}],
}


def made(module, schedules, optimizer, name, options):
    """A schedule of ours or PyTorch's; a sequence is a list of others."""
    if name != "SequentialLR":
        return getattr(schedules, name)(optimizer, **options)
    parts = [getattr(schedules, part)(optimizer, **more) for part, more in options["parts"]]
    return schedules.SequentialLR(optimizer, parts, options["milestones"])


SEQUENCES = [
    {
        "parts": [("LinearLR", {"start_factor": 0.1, "total_iters": 5}), (other, options[-1])],
        "milestones": [5],
    }
    for other, options in SCHEDULES.items()
] + [
    {
        "parts": [
            ("ExponentialLR", {"gamma": 0.5}),
            ("StepLR", {"step_size": 2}),
            ("LinearLR", {}),
        ],
        "milestones": [4, 9],
    }
]
ALL_SCHEDULES = [(n, o) for n, options in SCHEDULES.items() for o in options]
ALL_SCHEDULES += [("SequentialLR", o) for o in SEQUENCES]


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
@pytest.mark.parametrize(("name", "options"), ALL_SCHEDULES)
def test_schedules_give_pytorchs_numbers(name, options):
    ours, theirs = pair()
    mine, other = optim.SGD(ours, lr=0.3), torch.optim.SGD(theirs, lr=0.3)
    schedule = made(optim, optim, mine, name, options)
    reference = made(torch, torch.optim.lr_scheduler, other, name, options)
    for step in range(40):
        got, want = mine.param_groups[0]["lr"], other.param_groups[0]["lr"]
        assert abs(got - want) <= np.spacing(want), (step, got, want)
        assert schedule.get_last_lr() == [got]
        if step == 7:  # another one goes on from here
            kept, rates = schedule.state_dict(), mine.state_dict()
            mine = optim.SGD(ours, lr=0.3)
            schedule = made(optim, optim, mine, name, options)
            mine.load_state_dict(rates)
            schedule.load_state_dict(kept)
        schedule.step()
        reference.step()


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
@pytest.mark.parametrize(("name", "options"), [c for c in ALL_SCHEDULES if c[0] != "SequentialLR"])
def test_schedules_started_in_the_middle(name, options):
    ours, theirs = pair()
    groups = [{"params": ours, "lr": 0.1, "initial_lr": 0.3}]
    mine = optim.SGD(groups)
    other = torch.optim.SGD([{"params": theirs, "lr": 0.1, "initial_lr": 0.3}])
    schedule = getattr(optim, name)(mine, last_epoch=4, **options)
    reference = getattr(torch.optim.lr_scheduler, name)(other, last_epoch=4, **options)
    for _ in range(12):
        want = other.param_groups[0]["lr"]
        assert abs(mine.lr - want) <= np.spacing(want)
        schedule.step()
        reference.step()
