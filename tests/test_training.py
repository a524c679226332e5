"""Training: reproducible, right in FP32, and showing what a format breaks and what cures it."""

from __future__ import annotations

import numpy as np
import pytest

import fpemu as fp
from fpemu import data, nn, optim
from fpemu.autograd.site import ROLES, Site
from fpemu.autograd.tensor import _added
from fpemu.data.dataset import Dataset
from fpemu.diagnose import value_losses
from fpemu.training import Run

DIGITS = data.digits()


def run(policy, *, epochs=1, lr=0.1, rows=None, seed=0, **options):
    fp.manual_seed(seed)
    model = nn.mlp([64, 32, 10])
    sgd = optim.SGD(model.parameters(), lr=lr, momentum=options.pop("momentum", 0.0))
    used = DIGITS
    if rows:
        cut = (DIGITS.train_x[:rows], DIGITS.train_y[:rows], DIGITS.test_x, DIGITS.test_y)
        used = Dataset("part", *cut)
    history = fp.train(
        model, used, policy=policy, optimizer=sgd, epochs=epochs, seed=seed, **options
    )
    return model, history


def absorbed(history) -> float:
    counts = history.trace
    return counts.count("swamped", op="absorbed") / counts.count("nonzero", op="absorbed")


def test_digits_are_1797_real_images_split_1437_to_360():
    assert (DIGITS.train_x.shape, DIGITS.test_x.shape) == ((1437, 64), (360, 64))
    assert (DIGITS.features, DIGITS.classes) == (64, 10)
    assert DIGITS.train_x.max() == 1.0
    together = np.concatenate([DIGITS.train_x, DIGITS.test_x])
    assert len(np.unique(together, axis=0)) > 1790  # a split, not a repetition


@pytest.mark.parametrize("name", list(fp.policies))
def test_every_preset_trains_and_the_same_seed_gives_the_same_bits(name):
    first, history = run(name, rows=320, momentum=0.5)
    second, again = run(name, rows=320, momentum=0.5)
    for key, value in first.state_dict().items():
        assert value.tobytes() == second.state_dict()[key].tobytes(), key
    assert history.trace.to_dicts() == again.trace.to_dicts()
    assert history.final["test_loss"] == again.final["test_loss"]
    other, _ = run(name, rows=320, momentum=0.5, seed=1)
    assert first.state_dict()["0.weight"].tobytes() != other.state_dict()["0.weight"].tobytes()
    stored = {p.data.format for p in first.parameters()}
    assert stored == {fp.policies[name].storage}


def test_watching_does_not_change_a_bit():
    fp.manual_seed(0)
    model = nn.mlp([64, 32, 10])
    sgd = optim.SGD(model.parameters(), lr=0.1)
    unwatched = Run(model, DIGITS, fp.policies["fp16"], sgd)
    from fpemu import events

    order = fp.random.Stream(0, "epoch/1").permutation(1437)
    with events.paused(), fp.policies["fp16"]:
        for start in range(0, 1437, 32):
            unwatched._step(order[start : start + 32])
    watched, _ = run("fp16")
    for key, value in watched.state_dict().items():
        assert value.tobytes() == model.state_dict()[key].tobytes()


def test_fp32_learns_the_digits():
    _, history = run("fp32", epochs=12)
    assert history.final["test_accuracy"] > 0.9
    assert history.rows[0]["train_loss"] > history.final["train_loss"]
    assert history.steps == 12 * 45
    assert [row["epoch"] for row in history.rows] == list(range(1, 13))


def test_bf16_weights_stall_at_a_small_learning_rate_and_masters_cure_it():
    _, fp32 = run("fp32", epochs=3, lr=0.003)
    _, bare = run("bf16", epochs=3, lr=0.003)
    _, master = run("bf16_master", epochs=3, lr=0.003)
    assert absorbed(bare) > 0.9
    assert absorbed(master) < 0.01
    start = np.log(10)
    progress = [start - h.final["train_loss"] for h in (fp32, bare, master)]
    assert progress[1] < 0.5 * progress[0]
    assert abs(progress[2] - progress[0]) < 0.05 * progress[0]


def test_gradients_underflow_and_a_loss_scale_rescues_them():
    tiny = 2.0**-20
    _, lost = run("fp16_master", epochs=2, loss_weight=tiny)
    _, saved = run("fp16_master loss_scale=2^20", epochs=2, loss_weight=tiny)
    _, fp32 = run("fp32", epochs=2, loss_weight=tiny)
    gradients = {loss.layer: loss for loss in value_losses(lost.trace) if loss.role == "gradients"}
    assert gradients["loss"].to_zero > 0.99 * gradients["loss"].nonzero
    rescued = {loss.layer: loss for loss in value_losses(saved.trace) if loss.role == "gradients"}
    assert rescued["loss"].to_zero < 0.01 * rescued["loss"].nonzero
    assert abs(lost.final["train_loss"] - np.log(10)) < 0.05
    assert abs(saved.final["train_loss"] - fp32.final["train_loss"]) < 0.01


def test_a_power_of_two_loss_weight_changes_no_bit_in_fp32():
    plain, _ = run("fp32", rows=320)
    scaled, _ = run("fp32 loss_scale=2^10", rows=320, loss_weight=2.0**-4)
    for key, value in plain.state_dict().items():
        assert value.tobytes() == scaled.state_dict()[key].tobytes()


def test_overflow_is_reported_with_step_and_parameter():
    _, history = run("fp16_master loss_scale=2^24", rows=64)
    assert history.first_nonfinite == {"step": 1, "parameter": "0.weight"}
    _, fine = run("fp16_master", rows=64)
    assert fine.first_nonfinite is None


def test_absorbed_counts_weights_that_a_nonzero_update_left_unchanged():
    weight = fp.Tensor(fp.array([1.0, 1.0, 1.0, 0.0], fp.FP16), requires_grad=True, name="l/weight")
    weight.grad = fp.array([1e-4, 1.0, 0.0, 1e-4], fp.FP16)
    with fp.trace() as t:
        optim.SGD([weight], lr=1.0).step()
    assert weight.data.tolist() == [1.0, 0.0, 1.0, -np.float16(1e-4)]
    assert t.count("nonzero", op="absorbed") == 3
    assert t.count("swamped", op="absorbed") == 1
    # An update that is itself rounded to zero is absorbed, too.
    weight.grad = fp.array([0.0, 0.0, 0.0, 6e-8], fp.FP16)
    with fp.trace() as t:
        optim.SGD([weight], lr=0.01).step()
    assert t.count("swamped", op="absorbed") == 1


def test_momentum_is_plain_arithmetic_in_fp32():
    weight = fp.Tensor(np.float32([1.0]), requires_grad=True, name="l/weight")
    sgd = optim.SGD([weight], lr=0.1, momentum=0.9)
    w, v = np.float32(1.0), np.float32(0.0)
    for g in (0.5, -0.25, 0.125):
        weight.grad = fp.asarray(np.float32([g]))
        sgd.step()
        v = np.float32(0.9) * v + np.float32(g)
        w = w - np.float32(0.1) * v
        assert np.asarray(weight)[0] == w


def test_ctrl_c_keeps_the_history(monkeypatch):
    evaluate = Run.evaluate
    calls = []

    def stop_in_third(self):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self)

    monkeypatch.setattr(Run, "evaluate", stop_in_third)
    _, history = run("fp32", epochs=9, rows=64)
    assert history.interrupted
    assert len(history.rows) == 2


def test_progress_lines_go_to_standard_error(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm", None)
    run("fp32", epochs=2, rows=64, progress=True)
    assert capsys.readouterr() == ("", "epochs: 1/2\nepochs: 2/2\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs must be a non-negative integer, got -1"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"policy": "fp"}, "unknown policy 'fp'"),
        ({"loss_weight": 0.0}, "loss_weight must be positive and finite"),
        (
            {"data": (np.full((4, 64), np.nan), np.zeros(4, int))},
            "nan at row 0, column 0 (256 such",
        ),
        ({"data": (np.ones((4, 64)), np.zeros(3, int))}, "got (4, 64) and (3,)"),
        ({"data": (np.ones((4, 64)), [0, 1, 2, 0.5])}, "targets must be integers from 0"),
        ({"data": (np.ones((4, 64)), [0, 1, 2, -1])}, "targets must be integers from 0"),
        ({"data": ([["a"] * 64] * 4, [0] * 4)}, "inputs must be numbers, got dtype <U1"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(change, message):
    model = nn.mlp([64, 10])
    arguments = {"data": DIGITS, "policy": "fp32", "epochs": 1, **change}
    with pytest.raises(fp.ArgumentError) as caught:
        fp.train(model, arguments.pop("data"), **arguments)
    assert message in str(caught.value)
    with pytest.raises(fp.ArgumentError, match="lr must be a positive finite number, got 0"):
        optim.SGD(model.parameters(), lr=0)
    with pytest.raises(fp.ArgumentError, match="momentum must be at least 0 and below 1, got 1"):
        optim.SGD(model.parameters(), momentum=1)


def test_weights_are_stored_with_the_saturation_of_the_policy():
    policy = fp.Policy.parse("weights=e4m3 master=none saturation=finite")
    model = nn.Sequential(nn.Linear(2, 1))
    model[0].weight.data = fp.array([[1000.0, -1000.0]], "fp32")
    rows = Dataset.split("ones", np.ones((8, 2), np.float32), np.zeros(8, np.int64))
    Run(model, rows, policy, optim.SGD(model.parameters(), lr=0.5))
    assert model[0].weight.data.tolist() == [[448.0, -448.0]]


def test_sums_of_gradients_saturate_as_the_policy_says():
    f = fp.FP16
    piece = fp.array([60000.0], f)
    site = Site("here", dict.fromkeys(ROLES, f), saturation="finite")
    assert _added(piece, piece, "w", site).tolist() == [65504.0]
    assert _added(fp.array([1.0], "e4m3"), piece, "w", site).tolist() == [448.0]


@pytest.mark.parametrize("optimizer", ["adam", optim.Adam, 0.1])
def test_an_optimizer_is_an_object(optimizer):
    with pytest.raises(fp.ArgumentError, match="must be made with the model's parameters"):
        fp.train(nn.mlp([64, 10]), DIGITS, optimizer=optimizer)
