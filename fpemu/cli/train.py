"""``fpemu train mlp``: train on real data under a policy, beside another, and count the losses."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from fpemu import text
from fpemu.cli.options import add_json, decimal_number, integer, names, print_json, say
from fpemu.errors import unknown

if TYPE_CHECKING:
    from fpemu.training import Run

MODELS = ("mlp",)


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a model under a precision policy and see what breaks",
        description="Train under a policy, side by side with another; every product, sum, cast and "
        "update is rounded as the policy says, and what that did to the values is counted.",
    )
    parser.add_argument("model", help="mlp: linear layers with ReLU between them")
    parser.add_argument("--data", default="digits", help="digits (default), FILE.npz or FILE.csv")
    parser.add_argument(
        "--policy",
        action="append",
        help='a preset such as fp16, fp16_master, bf16, fp8_hybrid, or "role=format ...", or a file '
        "(.toml, .json, .txt); may be given several times (default fp16)",
    )
    parser.add_argument("--compare", metavar="POLICY", help="a policy to compare with, e.g. fp32")
    parser.add_argument("--epochs", default="10", help="passes over the data (default 10)")
    parser.add_argument("--lr", default="0.1", help="learning rate (default 0.1)")
    parser.add_argument("--momentum", default="0", help="momentum of SGD (default 0)")
    parser.add_argument("--batch-size", default="32", help="rows per step (default 32)")
    parser.add_argument("--hidden", default="64", help="sizes of hidden layers, e.g. 64 or 64,32")
    parser.add_argument("--loss-scale", help="override the policies' loss scale, e.g. 1024 or 2^20")
    parser.add_argument(
        "--loss-weight",
        default="1",
        help="multiply the loss, and divide it out before the update, e.g. 2^-20: the same "
        "mathematics with smaller gradients",
    )
    parser.add_argument("--seed", default="0", help="of the weights, the split and the row order")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, print progress on standard error and the result on standard output."""
    if options.model not in MODELS:
        raise unknown("model", options.model, MODELS)
    started = time.perf_counter()
    epochs = integer(options.epochs, "--epochs", low=1, high=10**6)
    runs = _runs(options)
    interrupted = False
    data = next(iter(runs.values())).data
    say(
        f"training {len(runs)} run{'s' * (len(runs) > 1)} on {len(data.train_x)} rows of {data.name}, "
        f"testing on {len(data.test_x)}; the first start compiles kernels for some seconds"
    )
    try:
        for number in range(1, epochs + 1):
            rows = [_epoch(run, name, number, epochs) for name, run in runs.items()]
            if number == 1:
                say(_progress_header(list(runs)))
            say(_progress_line(number, rows))
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: results up to the last finished epoch follow")
    if not all(run.history.rows for run in runs.values()):
        say("fpemu: interrupted before the first epoch was finished")
        return 130
    seconds = time.perf_counter() - started
    if options.json:
        print_json({"seconds": seconds, "interrupted": interrupted, "runs": _to_dicts(runs)})
    else:
        print(_report(runs))
        print(f"\n{seconds:.1f} s in all")
    return 130 if interrupted else 0


def _runs(options: argparse.Namespace) -> dict[str, Run]:
    """One run per policy, from the same weights, rows and order; the reference first."""
    from dataclasses import replace

    import fpemu as fp
    from fpemu.policy import as_policy
    from fpemu.training import Run

    seed = integer(options.seed, "--seed", low=0, high=2**63 - 1)
    batch_size = integer(options.batch_size, "--batch-size", low=1, high=10**9)
    hidden = [
        integer(size, "--hidden", low=1, high=10**6)
        for size in names(options.hidden)
        if options.hidden
    ]
    policies = {}
    compared = [options.compare] if options.compare is not None else []
    for written in compared + (options.policy or ["fp16"]):
        policy = as_policy(written)
        if options.loss_scale is not None:
            policy = replace(policy, loss_scale=decimal_number(options.loss_scale, "--loss-scale"))
        policies[written] = policy
    lr, momentum = (
        decimal_number(options.lr, "--lr"),
        decimal_number(options.momentum, "--momentum"),
    )
    loss_weight = decimal_number(options.loss_weight, "--loss-weight")
    data = fp.data.load(options.data, seed=seed)
    runs = {}
    for name, policy in policies.items():
        fp.manual_seed(seed)
        model = fp.nn.mlp([data.features, *hidden, data.classes])
        optimizer = fp.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        runs[name] = Run(model, data, policy, optimizer, batch_size, seed, loss_weight)
    return runs


def _epoch(run: Run, name: str, number: int, epochs: int) -> dict[str, Any]:
    """One epoch with a bar on a terminal that vanishes when it is done."""
    if sys.stderr is None or not sys.stderr.isatty():
        return run.epoch()
    try:
        from tqdm import tqdm
    except ImportError:
        return run.epoch()
    label = f"epoch {number}/{epochs} {name[:30]}"
    with tqdm(total=run.steps_per_epoch, desc=label, leave=False) as bar:
        return run.epoch(on_step=bar.update)


def _progress_header(names: list[str]) -> str:
    return "epoch  " + "  ".join(f"{_short(name):>26}" for name in names)


def _progress_line(number: int, rows: list[dict[str, Any]]) -> str:
    cells = (f"loss {r['train_loss']:8.4f}  test {r['test_accuracy']:6.2%}" for r in rows)
    return f"{number:5}  " + "  ".join(f"{cell:>26}" for cell in cells)


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:23] + "..."


def _report(runs: dict[str, Run]) -> str:
    """The runs' results, in words what broke, then per layer and role what each run lost."""
    policies = [f"{name}: {run.policy}" for name, run in runs.items() if str(run.policy) != name]
    words = [line for name, run in runs.items() for line in _in_words(name, run)]
    parts = ["\n".join(policies), _results_table(runs), "\n".join(words), _losses_table(runs)]
    return "\n\n".join(part for part in [*parts, "\n".join(_LEGEND)] if part)


_LEGEND = (
    "values: nonzero values of that layer and role, over all finished epochs of training. to zero,",
    "subnormal, overflow: the share of them that rounding made so. absorbed: in accumulate, the share",
    "of products and sums in which a partial sum swallowed a product; in update, the share of nonzero",
    "updates that left the weight unchanged.",
)


def _results_table(runs: dict[str, Run]) -> str:
    """A row per run: how well it learned, and the two losses that most often stop learning."""
    rows = []
    for name, run in runs.items():
        history = run.history
        final, updates = history.final, _updates(run)
        rows.append(
            [
                _short(name),
                str(final["epoch"]),
                f"{final['test_accuracy']:.2%}",
                f"{final['test_loss']:.4f}",
                f"{final['train_loss']:.4f}",
                text.share(updates["values"] - updates["nonzero"], updates["values"]),
                text.share(updates["swamped"], updates["nonzero"]),
                f"{sum(row['seconds'] for row in history.rows):.1f}",
            ]
        )
    header = ["run", "epochs", "test accuracy", "test loss", "train loss"]
    return text.table([*header, "zero gradients", "updates absorbed", "seconds"], rows)


def _updates(run: Run) -> dict[str, int]:
    """Over all weights and steps: gradients, those not zero, and updates that changed nothing."""
    trace = run.history.trace
    return {e: trace.count(e, op="absorbed") for e in ("values", "nonzero", "swamped")}


def _in_words(name: str, run: Run) -> list[str]:
    """What stopped or hampered learning, if anything did, one sentence each."""
    import fpemu as fp

    said, updates, first = [], _updates(run), run.history.first_nonfinite
    storage = run.policy.storage
    if fp.quantize(run.optimizer.lr, storage) == 0:
        said.append(f"the learning rate {run.optimizer.lr:g} is 0 in {storage.name}")
    if first:
        said.append(
            f"first infinite or NaN gradient at step {first['step']}, in {first['parameter']}"
        )
    if updates["nonzero"] < 0.1 * updates["values"]:
        share = text.share(updates["values"] - updates["nonzero"], updates["values"])
        said.append(f"{share} of the entries of parameter gradients were zero: try a loss scale")
    if updates["swamped"] > 0.1 * updates["nonzero"]:
        share = text.share(updates["swamped"], updates["nonzero"])
        said.append(
            f"{share} of the nonzero weight updates left the weight as it was: try master weights"
        )
    return [f"{name}: {line}" for line in said] or [f"{name}: nothing conspicuous"]


def _losses_table(runs: dict[str, Run]) -> str:
    from fpemu.diagnose import ROLES, value_losses

    by_run = {
        name: {(loss.layer, loss.role): loss for loss in value_losses(run.history.trace)}
        for name, run in runs.items()
    }
    keys = list(dict.fromkeys(key for losses in by_run.values() for key in losses))
    layers = sorted(dict.fromkeys(layer for layer, _ in keys), key=lambda layer: layer == "loss")
    keys.sort(key=lambda key: (layers.index(key[0]), ROLES.index(key[1])))
    rows = []
    for layer, role in keys:
        for name, losses in by_run.items():
            loss = losses.get((layer, role))
            if loss is None:
                continue
            shares = (
                text.share(loss.to_zero, loss.nonzero),
                text.share(loss.subnormal, loss.nonzero),
                text.share(loss.overflow, loss.nonzero),
                text.share(loss.absorbed, loss.updates if role == "update" else loss.nonzero)
                if role in ("update", "accumulate")
                else "",
            )
            rows.append([layer, role, _short(name), str(loss.nonzero), *shares])
    header = ["layer", "role", "run", "values", "to zero", "subnormal", "overflow", "absorbed"]
    return text.table(header, rows)


def _to_dicts(runs: dict[str, Run]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from fpemu.diagnose import value_losses

    return [
        {
            "name": name,
            "policy": str(run.policy),
            "epochs": run.history.rows,
            "first_nonfinite": run.history.first_nonfinite,
            "losses": [asdict(loss) for loss in value_losses(run.history.trace)],
            "places": run.history.trace.to_dicts(),
        }
        for name, run in runs.items()
    ]
