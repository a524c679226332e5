"""The training loop: micro-batches, schedules, clipping, scalers, callbacks, stopping, modes."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.autograd.tensor import Tensor
from fpemu.data import Dataset
from fpemu.training import EarlyStopping, LiveCurves, Run

RNG = np.random.default_rng(3)
ROWS = Dataset.split("rows", RNG.normal(size=(50, 4)), RNG.integers(0, 3, 50))


def start(policy="fp32", *, lr=0.125, seed=1, data=ROWS, sizes=(4, 6, 3), **options):
    fp.manual_seed(seed)
    model = nn.mlp(list(sizes))
    sgd = optim.SGD(model.parameters(), lr=lr)
    options.setdefault("epochs", 2)
    options.setdefault("batch_size", 8)
    return model, fp.train(model, data, policy=policy, optimizer=sgd, **options)


def one_step(policy, rows, **options):
    """The gradients with which the first step would be taken, and the loss."""
    fp.manual_seed(1)
    model = nn.mlp([4, 6, 3])
    run = Run(model, ROWS, policy, optim.SGD(model.parameters()), **options)
    run.optimizer.step = lambda **_: None
    with policy:
        loss = run._step(np.arange(rows))
    return {name: p.grad for name, p in model.named_parameters()}, loss, run


# -- micro-batches ---------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [2, 3, 5, 13, 40])
def test_micro_batches_give_the_gradient_of_the_mean_over_the_batch(pieces):
    exact = fp.policies["fp64"]
    want, loss, _ = one_step(exact, 13)
    got, other, _ = one_step(exact, 13, micro_batches=pieces)
    assert abs(loss - other) < 1e-14
    for name, gradient in want.items():
        assert np.abs(np.asarray(got[name]) - np.asarray(gradient)).max() < 1e-15


def test_sums_of_micro_batches_are_those_of_numpy_float16():
    policy = fp.Policy.parse("fp16_master loss_scale=2^8 gradient_sum=fp16")
    got, _, run = one_step(policy, 8, micro_batches=4)
    total = {}
    for piece in np.array_split(np.arange(8), 4):
        run.model.zero_grad()
        with policy:
            predicted = run.model(Tensor(ROWS.train_x[piece]))
            # A quarter of the scale for a quarter of the rows.
            nn.cross_entropy(predicted, ROWS.train_y[piece]).backward(64.0)
        for name, p in run.model.named_parameters():
            assert p.grad.format == fp.FP16
            present = np.asarray(p.grad, np.float16)
            total[name] = present if name not in total else total[name] + present
    for name, gradient in got.items():
        assert np.asarray(gradient, np.float16).tobytes() == total[name].tobytes()


def test_a_batch_cut_into_one_is_the_batch():
    plain, one = start()[0], start(micro_batches=1)[0]
    for key, value in plain.state_dict().items():
        assert value.tobytes() == one.state_dict()[key].tobytes()


# -- schedule, clipping, scaler ---------------------------------------------------------------


def test_a_schedule_sets_the_learning_rate_of_every_step():
    asked = []

    def schedule(step):
        asked.append(step)
        return 0.0 if step < 5 else 0.5

    fp.manual_seed(1)
    before = nn.mlp([4, 6, 3]).state_dict()
    model, history = start(schedule=schedule, epochs=1)
    assert asked == list(range(5))
    assert history.final["lr"] == 0.0
    for key, value in before.items():
        assert value.tobytes() == model.state_dict()[key].tobytes()
    asked.clear()
    model, history = start(schedule=schedule)
    assert [row["lr"] for row in history.rows] == [0.0, 0.5]
    assert model.state_dict()["0.weight"].tobytes() != before["0.weight"].tobytes()
    with pytest.raises(
        fp.ArgumentError, match="must give a finite number from 0 for step 0, got nan"
    ):
        start(schedule=lambda step: math.nan)


def test_schedules_of_the_optimizer_count_steps():
    used = []

    class Watch:
        def on_step(self, run, loss):
            used.append(run.optimizer.lr)

    fp.manual_seed(1)
    model = nn.mlp([4, 6, 3])
    sgd = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.StepLR(sgd, step_size=3, gamma=0.5)
    options = {"optimizer": sgd, "schedule": schedule, "callbacks": [Watch()], "epochs": 2}
    history = fp.train(model, ROWS, batch_size=10, **options)
    assert used == [0.5] * 3 + [0.25] * 3 + [0.125] * 2
    assert [row["lr"] for row in history.rows] == [0.25, 0.125]
    with pytest.raises(fp.ArgumentError, match="the schedule has done 7 steps already"):
        fp.train(model, ROWS, **options)
    other = optim.SGD(model.parameters(), lr=0.5)
    with pytest.raises(fp.ArgumentError, match="the schedule is one of another optimizer"):
        fp.train(model, ROWS, **{**options, "optimizer": other})


def test_clipping_looks_at_gradients_without_the_loss_scale():
    free, _, _ = one_step(fp.policies["fp32"], 8)
    norm = math.sqrt(sum(float(np.sum(np.asarray(g, np.float64) ** 2)) for g in free.values()))
    for scale in (1.0, 2.0**12):
        policy = fp.Policy.parse(f"fp32 loss_scale={scale:g}")
        cut, _, run = one_step(policy, 8, clip_norm=norm / 4)
        for name, gradient in free.items():
            want = np.asarray(gradient, np.float64) / 4
            assert np.abs(np.asarray(cut[name]) / run.scale - want).max() < 1e-6 * norm
        kept, _, _ = one_step(policy, 8, clip_norm=norm * 4)
        for name, gradient in free.items():
            assert np.array_equal(np.asarray(kept[name]) / run.scale, np.asarray(gradient))


def test_a_scaler_scales_and_skips():
    class Scaler:
        scale, found = 2.0**100, []

        def update(self, found_inf):
            self.found.append(found_inf)
            if found_inf:
                self.scale /= 2.0**50
            return not found_inf

    scaler = Scaler()
    model, history = start("fp16_master", scaler=scaler, epochs=1)
    assert scaler.found == [True, True, False, False, False]  # 2**100, 2**50, 1
    skipped = sum(scaler.found)
    assert history.steps == 5
    # What was skipped counts as a step, but nothing was updated in it.
    updates = history.trace.count("values", op="absorbed")
    assert updates == (5 - skipped) * sum(p.size for p in model.parameters())
    with pytest.raises(fp.ArgumentError, match="the policy says loss_scale=1024, and a scaler"):
        start("fp16_master_scaled", scaler=Scaler())


# -- losses and targets of other kinds ------------------------------------------------------------


def test_targets_may_be_numbers_and_sequences():
    x = RNG.normal(size=(40, 4))

    def square(predicted, targets):
        difference = predicted - Tensor(targets[:, None])
        return (difference * difference).mean()

    _, history = start(sizes=(4, 1), data=(x, x @ [1.0, -2.0, 0.5, 0.0]), loss=square, epochs=30)
    assert history.final["test_loss"] < 0.01
    assert history.final["test_accuracy"] is None
    with pytest.raises(fp.ArgumentError, match="targets must be integers"):
        start(data=(x, x[:, 0]))
    numbers = Dataset.split("n", x, x[:, 0], targets="numbers")
    with pytest.raises(fp.ArgumentError, match="has numbers as targets: give a loss"):
        start(data=numbers)
    with pytest.raises(fp.ArgumentError, match="has numbers as targets, not classes"):
        _ = numbers.classes

    class Each(nn.Module):  # a class for every element of a row
        def __init__(self):
            self.inner = nn.Linear(1, 2)

        def forward(self, x):
            return self.inner(x.reshape(-1, 1)).reshape(-1, 4, 2)

    fp.manual_seed(0)
    model = Each()
    sgd = optim.SGD(model.parameters(), lr=0.5)
    history = fp.train(model, (x, (x > 0).astype(int)), optimizer=sgd, epochs=20)
    assert history.final["test_accuracy"] > 0.95


def test_models_train_in_training_mode_and_are_tested_in_the_other():
    modes = []

    class Watch(nn.Module):
        def forward(self, x):
            modes.append(self.training)
            return x

    fp.manual_seed(0)
    model = nn.Sequential(Watch(), nn.Linear(4, 3))
    model.eval()
    fp.train(model, ROWS, epochs=1, batch_size=20)
    assert modes == [True, True, False]  # two batches of 20 rows, then 10 rows of test
    assert model.training


def test_storing_every_step_and_every_evaluation_draws_its_own_random_bits(monkeypatch):
    from fpemu.autograd import draws

    blocks, honest = [], draws.block
    monkeypatch.setattr(
        draws, "block", lambda seed, step: blocks.append((seed, step)) or honest(seed, step)
    )
    start(seed=7, epochs=2, batch_size=20)
    assert blocks == [(0, 0), (0, 1), (0, 2), (0, -1), (0, 3), (0, 4), (0, -2)]


# -- callbacks and stopping -------------------------------------------------------------------------


def test_callbacks_are_told_in_order():
    told = []

    class Watch:
        def on_step(self, run, loss):
            told.append(("step", run.history.steps))
            assert loss == run.history.losses[-1]

        def on_epoch(self, run, row):
            told.append(("epoch", row["epoch"]))

        def on_end(self, run):
            told.append(("end", len(run.history.rows)))

    rows = []
    _, history = start(
        batch_size=20,
        callbacks=[Watch(), lambda run, row: told.append(("function", row["epoch"]))],
        on_epoch=rows.append,
    )
    first = [("step", 1), ("step", 2), ("epoch", 1), ("function", 1)]
    second = [("step", 3), ("step", 4), ("epoch", 2), ("function", 2), ("end", 2)]
    assert told == first + second
    assert rows == history.rows
    assert history.rows[0]["train_loss"] == np.mean(history.losses[:2])
    with pytest.raises(fp.ArgumentError, match="a callback is a function of"):
        start(callbacks=[3])


def test_a_callback_may_stop_the_run():
    _, history = start(epochs=9, callbacks=[lambda run, row: run.stop("enough")])
    assert (len(history.rows), history.stopped) == (1, "enough")


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_and_the_best_weights(restore):
    kept = []

    def keep(run, row):
        kept.append((row["test_loss"], run.tensors()))

    stopper = EarlyStopping(3, restore_best=restore)
    model, history = start(lr=2.0, epochs=200, early_stop=stopper, callbacks=[keep])
    losses = [loss for loss, _ in kept]
    best = int(np.argmin(losses))
    assert len(losses) == best + 4 < 200
    assert (
        history.stopped
        == f"no better test_loss for 3 epochs (best: {losses[best]:.4g} in epoch {best + 1})"
    )
    assert (stopper.best, stopper.best_epoch) == (losses[best], best + 1)
    wanted = kept[best if restore else -1][1]
    for name, p in model.named_parameters():
        assert np.array_equal(p.numpy(), np.asarray(wanted[name]))


def test_what_counts_as_better():
    stop = EarlyStopping(2, monitor="test_accuracy", min_delta=0.1)
    assert [stop.better(v) for v in (0.5, 0.55, 0.61, math.nan)] == [True, False, True, False]
    stop = EarlyStopping(2, monitor="train_loss")
    assert [stop.better(v) for v in (math.nan, math.inf, 1.0, 1.0)] == [False, True, True, False]
    for bad, message in [
        ({"patience": 0}, "patience must be a positive integer"),
        ({"monitor": "loss"}, "unknown monitor 'loss'; did you mean 'test_loss'"),
        ({"min_delta": -1}, "min_delta must be a finite number from 0"),
    ]:
        with pytest.raises(fp.ArgumentError, match=message):
            EarlyStopping(**bad)


def test_live_curves_are_a_line_per_epoch_where_there_is_no_notebook():
    out = io.StringIO()
    _, history = start(epochs=3, callbacks=[LiveCurves(out)])
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    last = history.final
    assert lines[2].startswith(
        f"epoch 3  loss {last['train_loss']:.4f}  test {last['test_loss']:.4f}"
    )
    assert len(lines[2].split()[-1]) == 3  # three bars


def test_live_curves_are_drawn_anew_in_a_notebook(monkeypatch):
    import sys
    import types

    shown = []

    class Handle:
        def update(self, picture):
            shown.append(("update", picture))

    def display(picture, display_id):
        shown.append(("display", picture))
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    drawing = types.ModuleType("IPython.display")
    drawing.HTML, drawing.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", drawing)
    start(epochs=3, callbacks=[LiveCurves()])
    assert [kind for kind, _ in shown] == ["display", "update", "update"]
    assert shown[-1][1].count("<polyline") == 3
    assert "<td>3</td>" in shown[-1][1]


def test_a_bar_shows_steps_where_tqdm_is(capsys):
    start(progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "/10 [" in captured.err  # 2 epochs of 5 batches


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"micro_batches": 0}, "micro_batches must be a positive integer, got 0"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive finite number, got 0.0"),
        ({"clip_norm": math.nan}, "clip_norm must be a positive finite number, got nan"),
        ({"loss": 3}, "loss must be a function, got 3"),
        (
            {"schedule": "cosine"},
            "schedule must be one of fpemu.optim, or a function of the step, got 'cosine'",
        ),
        ({"every": 0, "checkpoint": "x"}, "every must be a positive integer, got 0"),
        ({"early_stop": 0}, "patience must be a positive integer, got 0"),
    ],
)
def test_bad_options_are_refused(change, message):
    with pytest.raises(fp.ArgumentError, match=message):
        start(**change)


def test_only_some_steps_are_counted_and_no_bit_changes():
    model, all_of_them = start("fp16", watch=1)
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    steps = all_of_them.steps
    place = "layers.0/forward/accumulate"
    each = all_of_them.trace.count("values", place=place)
    for watch, counted in ((0, 0), (5, -(-steps // 5)), (steps, 1)):
        model, history = start("fp16", watch=watch)
        assert {name: value.tolist() for name, value in model.state_dict().items()} == weights
        assert history.rows[-1]["train_loss"] == all_of_them.rows[-1]["train_loss"]
        found = history.trace.count("values", place=place)
        assert (found == 0) == (watch == 0)
        assert found <= each * counted / steps * 1.01
    with pytest.raises(fp.ArgumentError, match="watch must be a non-negative integer, got -1"):
        start(watch=-1)
