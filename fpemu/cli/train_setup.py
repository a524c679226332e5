"""From the options of ``fpemu train`` to runs; whatever is wrong is said before anything runs."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpemu.cli.options import decimal_number, integer, names
from fpemu.errors import ArgumentError, missing_extra, unknown

if TYPE_CHECKING:
    from fpemu.training import Run

# Name -> the class in fpemu.optim, its learning rate, and whether it has a momentum.
OPTIMIZERS = {
    "sgd": ("SGD", 0.1, True),
    "adam": ("Adam", 0.001, False),
    "adamw": ("AdamW", 0.001, False),
    "rmsprop": ("RMSprop", 0.01, True),
    "adagrad": ("Adagrad", 0.01, False),
}
SCHEDULES = ("constant", "cosine", "step:EPOCHS", "step:EPOCHS:FACTOR")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how."""
    add = parser.add_argument
    add(
        "--data",
        default="digits",
        help="digits (default), mnist5k, mnist, fashion_mnist, cifar10, moons, spirals, xor, bars, "
        "FILE.npz or FILE.csv",
    )
    add(
        "--policy",
        action="append",
        help='a preset such as fp16, fp16_master, bf16, fp8_hybrid, or "role=format ...", or a file '
        "(.toml, .json, .txt); may be given several times (default fp16)",
    )
    add("--compare", metavar="POLICY", help="a policy to compare with, e.g. fp32")
    add("--epochs", default="10", help="passes over the data (default 10)")
    add("--optimizer", default="sgd", help=f"{', '.join(OPTIMIZERS)} (default sgd)")
    add("--lr", help="learning rate (default 0.1 for sgd, 0.001 for adam)")
    add("--momentum", help="momentum of sgd and rmsprop (default 0)")
    add(
        "--schedule",
        default="constant",
        help="of the learning rate: cosine (down to 0 at the end), step:EPOCHS:FACTOR (times FACTOR, by "
        "default 0.1, every so many epochs)",
    )
    add("--warmup", default="0", metavar="STEPS", help="steps in which the rate grows to its value")
    add("--clip-norm", help="largest norm of all gradients together")
    add("--batch-size", default="32", help="rows per step (default 32)")
    add(
        "--watch",
        default="1",
        metavar="N",
        help="count every N-th step only, 0 none (default 1: all)",
    )
    add("--micro-batches", default="1", help="pieces of a batch whose gradients are added")
    add(
        "--hidden",
        help="sizes of hidden layers: 64 (mlp's default) or 64,32; channels of cnn: 8,16",
    )
    add("--loss-scale", help="override the policies' loss scale, e.g. 1024 or 2^20")
    add(
        "--loss-weight",
        default="1",
        help="multiply the loss, and divide it out before the update, e.g. 2^-20: the same "
        "mathematics with smaller gradients",
    )
    add("--seed", default="0", help="of the weights, the split, the row order and random bits")
    add(
        "--early-stop",
        metavar="EPOCHS",
        help="stop after so many epochs without a better test loss",
    )
    add(
        "--checkpoint",
        metavar="FILE",
        help="write everything there after every epoch and on Ctrl-C",
    )
    add("--every", metavar="STEPS", help="write the checkpoint after so many steps, too")
    add("--resume", action="store_true", help="go on from the checkpoint if the file is there")
    add("--csv", metavar="FILE", help="write the epochs as CSV")
    add("--save-json", metavar="FILE", help="write what --json prints to a file")
    add("--plot", metavar="FILE", help="draw the learning curves (.png, .svg, .pdf)")


def check_files(options: argparse.Namespace) -> None:
    """Refuse files that could not be written when all is done."""
    if options.resume and not options.checkpoint:
        raise ArgumentError("--resume goes on from a checkpoint: give --checkpoint FILE, too")
    if options.every is not None and not options.checkpoint:
        raise ArgumentError("--every says how often to write: give --checkpoint FILE, too")
    written = ("checkpoint", "csv", "save_json", "plot")
    for name in written:
        path = getattr(options, name)
        if path is None:
            continue
        folder = Path(path).parent
        if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            option = "--" + name.replace("_", "-")
            raise ArgumentError(
                f"{option}: {path!r} cannot be written: {str(folder)!r} is no folder to "
                "write to, or the name is that of a folder"
            )
    if options.plot is not None:
        from importlib.util import find_spec

        from fpemu.training import plots

        plots.check(options.plot)
        if find_spec("matplotlib") is None:
            raise missing_extra("matplotlib", "--plot", "plots")


def runs_of(options: argparse.Namespace, epochs: int) -> dict[str, Run]:
    """One run per policy, from the same weights, rows and order; the reference first."""
    import fpemu as fp
    from fpemu.nn.zoo import MODELS
    from fpemu.training import Run
    from fpemu.training.loop import go_on, stopping

    recipe = MODELS[options.model]
    seed = integer(options.seed, "--seed", low=0, high=2**63 - 1)
    said = names(options.hidden) if options.hidden else []
    hidden = [integer(size, "--hidden", low=1, high=10**6) for size in said]
    if options.hidden is None:
        hidden = list(recipe.hidden)
    every = options.every and integer(options.every, "--every", low=1, high=10**9)
    patience = options.early_stop and integer(options.early_stop, "--early-stop", low=1, high=10**6)
    told: dict[str, Any] = {
        "batch_size": integer(options.batch_size, "--batch-size", low=1, high=10**9),
        "seed": seed,
        "loss_weight": decimal_number(options.loss_weight, "--loss-weight"),
        "micro_batches": integer(options.micro_batches, "--micro-batches", low=1, high=10**6),
        "clip_norm": options.clip_norm and decimal_number(options.clip_norm, "--clip-norm"),
        "checkpoint": options.checkpoint,
        "watch": integer(options.watch, "--watch", low=0, high=10**9),
        "every": every,
    }
    policies = _policies(options)
    if options.checkpoint and len(policies) > 1:
        raise ArgumentError(f"--checkpoint holds one run, and {len(policies)} policies are given")
    make = _optimizer(options)
    scheduled = _schedule(options, epochs)
    data = fp.data.load(options.data, seed=seed)
    if data.train_x.dtype.kind == "i":
        raise ArgumentError(f"data {data.name!r} are tokens, and {options.model} takes numbers")
    data = data.flat() if recipe.flat else data.images()
    runs = {}
    for name, policy in policies.items():
        fp.manual_seed(seed)
        model = recipe.build(data.shape, data.classes, hidden)
        optimizer = make(model.parameters())
        per_epoch = -(-len(data.train_x) // told["batch_size"])
        schedule = scheduled(optimizer, per_epoch)
        callbacks = stopping(patience)
        run = Run(model, data, policy, optimizer, **told, schedule=schedule, callbacks=callbacks)
        go_on(run, options.resume)
        runs[name] = run
    return runs


def _policies(options: argparse.Namespace) -> dict[str, Any]:
    from fpemu.policy import as_policy

    policies = {}
    compared = [options.compare] if options.compare is not None else []
    for written in compared + (options.policy or ["fp16"]):
        policy = as_policy(written)
        if options.loss_scale is not None:
            policy = replace(policy, loss_scale=decimal_number(options.loss_scale, "--loss-scale"))
        policies[written] = policy
    return policies


def _optimizer(options: argparse.Namespace) -> Any:
    """A function from parameters to the optimizer that the options ask for."""
    import fpemu as fp

    if options.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", options.optimizer, OPTIMIZERS)
    kind, default, has_momentum = OPTIMIZERS[options.optimizer]
    told = {"lr": default if options.lr is None else decimal_number(options.lr, "--lr")}
    if options.momentum is not None:
        if not has_momentum:
            raise ArgumentError(f"--momentum does not go with {options.optimizer}")
        told["momentum"] = decimal_number(options.momentum, "--momentum")
    return lambda parameters: getattr(fp.optim, kind)(parameters, **told)


def _schedule(options: argparse.Namespace, epochs: int) -> Any:
    """A function from an optimizer and the steps of an epoch to the schedule asked for, or None."""
    from fpemu import optim

    warmup = integer(options.warmup, "--warmup", low=0, high=10**9)
    kind, *numbers = options.schedule.split(":")
    fits = {"constant": (0,), "cosine": (0,), "step": (1, 2)}
    if len(numbers) not in fits.get(kind, ()):
        raise unknown("schedule", options.schedule, SCHEDULES)
    size = integer(numbers[0], "--schedule step", low=1, high=10**6) if kind == "step" else 0
    factor = decimal_number(numbers[1], "--schedule step") if len(numbers) == 2 else 0.1

    def made(optimizer: Any, per_epoch: int) -> Any:
        total = max(epochs * per_epoch - warmup, 1)
        parts: list[Any] = []
        if warmup:
            first = 1 / (warmup + 1)
            parts.append(optim.LinearLR(optimizer, start_factor=first, total_iters=warmup))
        if kind == "cosine":
            parts.append(optim.CosineAnnealingLR(optimizer, T_max=total))
        if kind == "step":
            parts.append(optim.StepLR(optimizer, step_size=size * per_epoch, gamma=factor))
        if len(parts) < 2:
            return parts[0] if parts else None
        return optim.SequentialLR(optimizer, parts, milestones=[warmup])

    return made
