"""``fpemu train mlp`` or ``cnn``: train on real data under a policy, beside another, and count the losses."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from fpemu.cli.options import add_json, integer, json_text, print_json, say
from fpemu.cli.train_report import report, short, to_csv, to_dicts
from fpemu.cli.train_setup import add_options, check_files, runs_of
from fpemu.errors import unknown
from fpemu.files import write_text

if TYPE_CHECKING:
    from fpemu.training import Run


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a model under a precision policy and see what breaks",
        description="Train under a policy, side by side with another; every product, sum, cast and "
        "update is rounded as the policy says, and what that did to the values is counted.",
    )
    parser.add_argument(
        "model", help="mlp: linear layers with ReLU between them; cnn: convolutions and pooling"
    )
    add_options(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, print progress on standard error and the result on standard output."""
    from fpemu.nn.zoo import MODELS

    if options.model not in MODELS:
        raise unknown("model", options.model, MODELS)
    started = time.perf_counter()
    epochs = integer(options.epochs, "--epochs", low=1, high=10**6)
    check_files(options)
    runs = runs_of(options, epochs)
    interrupted = False
    data = next(iter(runs.values())).data
    say(
        f"training {len(runs)} run{'s' * (len(runs) > 1)} on {len(data.train_x)} rows of {data.name}, "
        f"testing on {len(data.test_x)}; the first start compiles kernels for some seconds"
    )
    if all(len(run.history.rows) >= epochs for run in runs.values()):
        say(
            f"{epochs} epochs are done already: nothing is left to train; --epochs says how many in all"
        )
    try:
        _train(runs, epochs)
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: results up to the last finished epoch follow")
        if options.checkpoint:
            say(f"to go on: the same command with --resume, from {options.checkpoint}")
    if not all(run.history.rows for run in runs.values()):
        say("fpemu: interrupted before the first epoch was finished")
        return 130
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "interrupted": interrupted, "runs": to_dicts(runs)}
    _write_files(options, runs, found)
    if options.json:
        print_json(found)
    else:
        print(report(runs))
        print(f"\n{seconds:.1f} s in all")
    return 130 if interrupted else 0


def _train(runs: dict[str, Run], epochs: int) -> None:
    """The epochs that are left, each for all runs in turn."""
    done = min(len(run.history.rows) for run in runs.values())
    said_header = False
    for number in range(done + 1, epochs + 1):
        rows: list[dict[str, Any] | None] = [
            _epoch(run, name, number, epochs) if run.history.stopped is None else None
            for name, run in runs.items()
        ]
        if not any(rows):
            break
        if not said_header:
            say(_progress_header(list(runs)))
            said_header = True
        say(_progress_line(number, rows))
    for run in runs.values():
        run.finish()


def _write_files(options: argparse.Namespace, runs: dict[str, Run], found: object) -> None:
    if options.csv:
        write_text(options.csv, to_csv(runs))
    if options.save_json:
        write_text(options.save_json, json_text(found) + "\n")
    if options.plot:
        from fpemu.training.plots import plot

        plot({name: run.history for name, run in runs.items()}, options.plot)


def _epoch(run: Run, name: str, number: int, epochs: int) -> dict[str, Any]:
    """One epoch with a bar on a terminal that vanishes when it is done."""
    if sys.stderr is None or not sys.stderr.isatty():
        return run.epoch()
    try:
        from tqdm import tqdm
    except ImportError:
        return run.epoch()
    label, done = f"epoch {number}/{epochs} {name[:30]}", run.position
    with tqdm(total=run.steps_per_epoch, initial=done, desc=label, leave=False) as bar:
        return run.epoch(on_step=bar.update)


def _progress_header(names: list[str]) -> str:
    return "epoch  " + "  ".join(f"{short(name):>26}" for name in names)


def _progress_line(number: int, rows: list[dict[str, Any] | None]) -> str:
    cells = (
        f"loss {r['train_loss']:8.4f}  test {r['test_accuracy']:6.2%}" if r else "stopped"
        for r in rows
    )
    return f"{number:5}  " + "  ".join(f"{cell:>26}" for cell in cells)
