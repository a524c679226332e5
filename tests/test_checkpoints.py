"""Checkpoints: a run that was stopped anywhere goes on with the bits of one that was not."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import fpemu as fp
from fpemu import nn, optim
from fpemu.data import Dataset
from fpemu.training import EarlyStopping, Run, checkpoint

RNG = np.random.default_rng(0)
ROWS = Dataset.split("rows", RNG.normal(size=(100, 6)), RNG.integers(0, 3, 100))
PER_EPOCH = 8  # 80 rows to train on, 10 at once
EPOCHS = 3
POLICIES = (
    "fp32",
    "bf16_master",
    "fp8_hybrid",
    "fp16_master loss_scale=2^10 gradient_sum=fp16",
    "weights=bf16 activations=bf16 gradients=bf16 accumulate=bf16 rounding=stochastic random_bits=8",
)


class Scaler:
    """A loss scale that doubles every third step: the smallest thing with a state."""

    def __init__(self):
        self.scale, self.count = 4.0, 0

    def update(self, found_inf):
        self.count += 1
        if self.count % 3 == 0:
            self.scale *= 2.0
        return not found_inf

    def state_dict(self):
        return {"scale": self.scale, "count": self.count}

    def load_state_dict(self, state):
        self.scale, self.count = state["scale"], state["count"]


class StopAt:
    """Ctrl-C, a real one, in step number `step`."""

    def __init__(self, step=None):
        self.step = step

    def on_step(self, run, loss):
        if run.history.steps == self.step:
            signal.raise_signal(signal.SIGINT)


def start(policy="fp16", *, stop=None, epochs=EPOCHS, momentum=0.9, seed=5, **options):
    fp.manual_seed(seed)
    model = nn.mlp([6, 8, 3])
    sgd = optim.SGD(model.parameters(), lr=0.125, momentum=momentum)
    options.setdefault("callbacks", [StopAt(stop)])
    options.setdefault("batch_size", 10)
    history = fp.train(
        model, ROWS, policy=policy, optimizer=sgd, epochs=epochs, seed=seed, **options
    )
    return model, history


def bits(model, history):
    """All that must be the same: weights to the bit, and the history but its seconds."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    weights = {name: (v.dtype.str, v.tobytes()) for name, v in model.state_dict().items()}
    formats = {p.name: p.data.format for p in model.parameters()}
    told = (history.losses, history.steps, history.first_nonfinite, history.stopped)
    return weights, formats, rows, told, history.trace.to_dicts()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def check_resumption(path, policy, stops, **options):
    """Stop in each of the steps `stops`, each time go on from the file; compare with one go."""
    want = bits(*start(policy, **options))
    for stop in stops:
        _, history = start(policy, stop=stop, checkpoint=path, resume=True, **options)
        assert history.interrupted
        assert history.steps == stop
        assert fp.load_checkpoint(path).step == stop
    model, history = start(policy, checkpoint=path, resume=True, **options)
    assert not history.interrupted
    for ours, theirs in zip(bits(model, history), want, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("policy", POLICIES)
def test_resuming_gives_the_bits_of_not_stopping(path, policy):
    # In the first step, inside an epoch, at its very end (before the test rows), in the next one.
    check_resumption(path, policy, [1, PER_EPOCH, PER_EPOCH + 3])


def test_resuming_with_everything_that_has_a_state(path):
    def halved(step):
        return 0.25 / (1 + step)

    options = {"schedule": halved, "clip_norm": 0.5, "micro_batches": 3}
    policy = "fp16_master gradient_sum=fp32 rounding=stochastic"

    def go(**more):
        stopper = EarlyStopping(1, monitor="test_accuracy", restore_best=True)
        return start(policy, scaler=Scaler(), early_stop=stopper, epochs=9, **options, **more)

    want = bits(*go())
    assert want[3][3].startswith("no better test_accuracy for 1 epochs")
    for stop in (5, PER_EPOCH + 6):
        _, history = go(callbacks=[StopAt(stop)], checkpoint=path, resume=True, every=3)
        assert history.interrupted
    for ours, theirs in zip(bits(*go(checkpoint=path, resume=True)), want, strict=True):
        assert ours == theirs


def adam(parameters):
    made = optim.AdamW(parameters, lr=0.01)
    parts = [optim.LinearLR(made, total_iters=4), optim.CosineAnnealingLR(made, T_max=30)]
    return made, optim.SequentialLR(made, parts, milestones=[4])


def adagrad(parameters):
    made = optim.Adagrad(parameters, lr=0.1)
    return made, optim.ExponentialLR(made, gamma=0.9)


@pytest.mark.parametrize("rule", ["plain", "kahan", "stochastic", "remainder"])
@pytest.mark.parametrize("make", [adam, adagrad])
def test_every_update_rule_and_schedule_goes_on(path, rule, make):
    def go(stop=None, **options):
        fp.manual_seed(2)
        model = nn.mlp([6, 8, 3])
        optimizer, schedule = make(model.parameters())
        options = {"optimizer": optimizer, "schedule": schedule, **options}
        policy = f"bf16 momentum=bf16 variance=fp32 update={rule}"
        history = fp.train(
            model, ROWS, policy=policy, epochs=2, batch_size=10, callbacks=[StopAt(stop)], **options
        )
        return bits(model, history)

    want = go()
    for stop in (3, PER_EPOCH):
        go(stop, checkpoint=path, resume=True)
    for ours, theirs in zip(go(checkpoint=path, resume=True), want, strict=True):
        assert ours == theirs


# What a checkpoint could forget, each with the part of the state that it then lacks.
def velocity(monkeypatch):
    from fpemu.optim import saved

    monkeypatch.setattr(saved, "restore", lambda optimizer, state: None)


def random_counters(monkeypatch):
    from fpemu.autograd import draws

    counter, honest = itertools.count(), draws.block
    monkeypatch.setattr(draws, "block", lambda seed, step: honest(seed, next(counter)))


def position_in_the_data(monkeypatch):
    from fpemu.data import Loader

    honest = Loader.load_state_dict
    monkeypatch.setattr(
        Loader, "load_state_dict", lambda self, state: honest(self, {**state, "position": 0})
    )


def counts_of_the_unfinished_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "trace_of", lambda rows: fp.trace().__enter__())


@pytest.mark.parametrize(
    "forgotten", [velocity, random_counters, position_in_the_data, counts_of_the_unfinished_epoch]
)
def test_a_checkpoint_that_forgets_something_is_caught(path, monkeypatch, forgotten):
    want = bits(*start(POLICIES[-1]))
    start(POLICIES[-1], stop=PER_EPOCH + 3, checkpoint=path)
    forgotten(monkeypatch)
    assert bits(*start(POLICIES[-1], checkpoint=path, resume=True)) != want


def test_ctrl_c_waits_for_the_step_and_a_second_one_does_not(path):
    class Twice(StopAt):
        def on_step(self, run, loss):
            if run.history.steps == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    _, history = start(checkpoint=path, callbacks=[Twice()])
    assert history.interrupted
    assert not path.exists()  # half a step is not written


def test_a_run_broken_off_by_an_error_cannot_be_saved(path):
    def broken(run, loss):
        raise OSError("no light")

    fp.manual_seed(0)
    model = nn.mlp([6, 3])
    watcher = type("Watcher", (), {"on_step": staticmethod(broken)})()
    sgd = optim.SGD(model.parameters())
    run = Run(model, ROWS, fp.policies["fp32"], sgd, callbacks=[watcher], checkpoint=path)
    with pytest.raises(OSError, match="no light"):
        run.epoch()
    with pytest.raises(fp.ArgumentError, match="broken off inside a step and cannot be saved"):
        run.save()
    assert not path.exists()


def test_checkpoints_are_written_after_every_epoch_and_every_n_steps(path):
    seen = []

    class Watch(StopAt):
        def on_step(self, run, loss):
            seen.append(fp.load_checkpoint(path).step if path.exists() else 0)

    start(checkpoint=path, every=3, epochs=2, callbacks=[Watch()])
    # Steps 3, 6, the end of the epoch at 8, 9, 12, 15: seen from the step that follows.
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6, 8, 9, 9, 9, 12, 12, 12, 15]
    assert fp.load_checkpoint(path).step == 16


def test_what_is_in_the_file_can_be_read_without_fpemu(path):
    model, history = start("fp8_hybrid weights=e4m3 master=none", checkpoint=path)
    with np.load(path, allow_pickle=False) as stored:
        metadata = json.loads(stored["metadata"].tobytes())
        codes = stored["weights.0.weight"]
    assert codes.dtype == np.dtype([("fpemu e4m3", "u1")])
    assert metadata["formats"]["0.weight"] == "e4m3"
    assert metadata["kind"] == "fpemu checkpoint"
    assert metadata["history"]["steps"] == EPOCHS * PER_EPOCH
    weights = fp.decode(codes["fpemu e4m3"], fp.E4M3)
    assert np.array_equal(weights, model[0].weight.numpy())
    found = fp.load_checkpoint(path)
    assert (found.epoch, found.step, found.position) == (EPOCHS, EPOCHS * PER_EPOCH, 0)
    assert found.weights["0.weight"].format == fp.E4M3
    assert found.history.trace.to_dicts() == history.trace.to_dicts()
    assert "3 epochs and 0 batches: 24 steps" in str(found)
    fresh = nn.mlp([6, 8, 3])
    fresh.load_state_dict(found.weights)
    assert np.array_equal(fresh[0].weight.numpy(), weights)


def test_formats_of_ones_own_and_special_values_survive(path):
    own = fp.Format(name="mine", exponent_bits=6, fraction_bits=3)
    fp.manual_seed(0)
    model = nn.mlp([6, 3])
    sgd = optim.SGD(model.parameters(), momentum=0.5)
    run = Run(model, ROWS, fp.policies["fp32"], sgd)
    model[0].bias.data = fp.array([-0.0, np.inf, np.nan], own)
    run.save(path)
    bias = fp.load_checkpoint(path).weights["0.bias"]
    assert bias.format == own
    assert bias.codes.tolist() == model[0].bias.data.codes.tolist()
    assert np.signbit(np.asarray(bias)[0])


def test_buffers_of_any_shape_go_on(path):
    class Counting(nn.Module):  # a buffer without axes, one whose format changes
        def __init__(self):
            self.inner = nn.Linear(6, 3)
            self.seen = fp.Tensor(fp.array(0.0, "fp64"))
            self.last = fp.Tensor(fp.array([0.0, 0.0, 0.0], "fp32"))

        def forward(self, x):
            y = self.inner(x)
            if self.training:
                self.seen.data = fp.array(self.seen.item() + 1, "fp64")
                self.last.data = fp.array(y.numpy()[0], "bf16")
            return y

    def go(stop=None, **options):
        fp.manual_seed(0)
        model, watch = Counting(), [StopAt(stop)]
        fp.train(model, ROWS, epochs=2, batch_size=10, callbacks=watch, **options)
        return [(name, t.data.format, t.data.codes.tolist()) for name, t in model._tensors()]

    want = go()
    assert ("seen", fp.FP64, fp.array(16.0, "fp64").codes.tolist()) in want
    go(5, checkpoint=path)
    assert go(checkpoint=path, resume=True) == want


def test_a_policy_that_text_cannot_say_is_refused_before_anything_runs(path):
    own = fp.Format(name="mine", exponent_bits=6, fraction_bits=3)
    policy = fp.Policy(weights=own)
    _, history = start(policy, epochs=1)
    assert len(history.rows) == 1
    with pytest.raises(fp.ArgumentError, match="a checkpoint keeps the policy as text"):
        start(policy, checkpoint=path)


# -- files that are not what they should be ----------------------------------------------------


def test_every_cut_and_every_flipped_byte_is_noticed_or_harmless(path):
    start(checkpoint=path, epochs=1)
    whole = path.read_bytes()
    want = fp.load_checkpoint(path)
    rng = np.random.default_rng(1)
    noticed = 0
    for at in rng.integers(2, len(whole), 150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = fp.load_checkpoint(path)
        except fp.ArgumentError:
            noticed += 1
        else:
            assert found.metadata == want.metadata
            for name, value in want.weights.items():
                assert found.weights[name].codes.tobytes() == value.codes.tobytes()
    assert noticed > 100
    for length in (2, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(fp.ArgumentError, match="is cut off or damaged"):
            fp.load_checkpoint(path)


def rewritten(path, change):
    """The file with other metadata, as sound as the first."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with np.load(path) as stored:
        metadata = json.loads(stored["metadata"].tobytes())
        arrays = {k: stored[k] for k in stored.files if k != "metadata"}
    change(metadata, arrays)
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    np.savez(path, metadata=text, **arrays)
    return members


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, a: m.update(version=2), "has file version 2, written by fpemu 0.1.0"),
        (lambda m, a: m.update(kind="other"), "is a .npz archive, but no checkpoint of fpemu"),
        (lambda m, a: a.pop("weights.0.bias"), "does not hold together"),
        (lambda m, a: a.pop("losses"), "does not hold together: KeyError('losses')"),
        (lambda m, a: m.pop("optimizer"), "does not hold together: KeyError('optimizer')"),
        (lambda m, a: m["formats"].update({"0.bias": "bf16"}), "formats of the weights are not"),
        (lambda m, a: m["optimizer"].update(lr={"$odd": 1}), "$odd says nothing"),
    ],
)
def test_sound_files_with_other_contents_are_refused(path, change, message):
    start(checkpoint=path, epochs=0)
    assert not path.exists()  # nothing was trained, nothing written
    start(checkpoint=path, epochs=1)
    rewritten(path, change)
    with pytest.raises(fp.ArgumentError) as caught:
        fp.load_checkpoint(path)
    assert message in str(caught.value)


def test_foreign_files_are_refused(path):
    with pytest.raises(fp.ArgumentError, match=r"cannot read .*: No such file"):
        fp.load_checkpoint(path)
    for content, message in [
        (b"", "it is not a .npz archive"),
        (b"hello", "it is not a .npz archive"),
    ]:
        path.write_bytes(content)
        with pytest.raises(fp.ArgumentError, match=message):
            fp.load_checkpoint(path)
    np.savez(path, x=np.ones(3))
    with pytest.raises(fp.ArgumentError, match=r"is a \.npz archive, but no checkpoint"):
        fp.load_checkpoint(path)
    np.savez(path, x=np.array([{}], object))  # a pickle inside is not opened
    with pytest.raises(fp.ArgumentError, match="cut off or damaged"):
        fp.load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "bf16"}, "policy is 'weights=fp16"),
        ({"seed": 6}, "seed is 5 there, 6 here"),
        ({"batch_size": 20}, "batch size is 10 there, 20 here"),
        ({"momentum": 0.5}, "optimizer's momentum is 0.9 there, 0.5 here"),
        ({"micro_batches": 2}, "micro-batches is 1 there, 2 here"),
        ({"loss": lambda p, y: nn.cross_entropy(p, y)}, "loss is 'fpemu.nn.loss.cross_entropy'"),
        ({"early_stop": 3}, "callbacks are ['StopAt'] there, ['StopAt', 'EarlyStopping'] here"),
        ({"scaler": Scaler()}, "scaler is None there, 'Scaler' here"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(path, change, message):
    start(checkpoint=path, epochs=1)
    with pytest.raises(fp.ArgumentError) as caught:
        start(**{"checkpoint": path, "resume": True, **change})
    assert message in str(caught.value)
    assert "is of another run" in str(caught.value)


def test_other_data_and_another_model_are_refused(path):
    start(checkpoint=path, epochs=1)
    other = Dataset("rows", ROWS.train_x + np.float32(1), ROWS.train_y, ROWS.test_x, ROWS.test_y)
    for sizes, data, message in [
        ([6, 8, 3], other, "data is '"),
        ([6, 9, 3], ROWS, r"0.weight has shape \(8, 6\) there, \(9, 6\) here"),
        ([6, 3], ROWS, r"missing there \[\], only there \['2.bias', '2.weight'\]"),
    ]:
        fp.manual_seed(5)
        model = nn.mlp(sizes)
        with pytest.raises(fp.ArgumentError, match=message):
            fp.train(
                model, data, policy="fp16", batch_size=10, seed=5, checkpoint=path, resume=True
            )


def test_arguments_about_checkpoints(path):
    with pytest.raises(fp.ArgumentError, match="resume=True goes on from the file at checkpoint"):
        start(resume=True)
    with pytest.raises(fp.ArgumentError, match="every says how often to save: give checkpoint"):
        start(every=2)
    with pytest.raises(fp.ArgumentError, match="cannot read"):
        start(checkpoint=path, resume=path)
    with pytest.raises(fp.ArgumentError, match=r"cannot write .*: No such file or directory"):
        start(checkpoint=path / "nowhere" / "run.npz")

    class Plain:
        def __init__(self, parameters):
            self.parameters = parameters

        def step(self, **options):
            pass

    model = nn.mlp([6, 3])
    with pytest.raises(fp.ArgumentError, match=r"Plain has no state_dict\(\)"):
        fp.train(model, ROWS, optimizer=Plain(model.parameters()), checkpoint=path)


# -- killed while it writes ---------------------------------------------------------------------

CHILD = """
import os, sys, time
import fpemu as fp
from fpemu.training import Run
from fpemu.data import xor
path, how = sys.argv[1:]
model = fp.nn.mlp([2, 4, 2])
run = Run(model, xor(20), fp.policies["fp16"], fp.optim.SGD(model.parameters()))
run.save(path)
if how == "in place":  # a planted bug
    import contextlib
    from fpemu.training import checkpoint
    @contextlib.contextmanager
    def written(path):
        with open(path, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    checkpoint.written_whole = written
def wait(number):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = wait
model[0].weight.data = model[0].weight.data * 2
print("saved", flush=True)
run.save(path)
"""


@pytest.mark.parametrize("how", ["beside", "in place"])
def test_a_process_killed_in_a_save_leaves_the_former_file(path, how):
    command = [sys.executable, "-c", CHILD, str(path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "saved\n"
        former = path.read_bytes()
        assert child.stdout.readline() == "writing\n"
        os.kill(child.pid, signal.SIGKILL)
    assert (path.read_bytes() == former) == (how == "beside")
    if how == "beside":
        assert fp.load_checkpoint(path).step == 0


def test_a_checkpoint_is_not_written_over(path):
    start(stop=2, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(fp.ArgumentError, match=r"there is a checkpoint at .*resume=True"):
        start(checkpoint=path)
    assert path.read_bytes() == before
