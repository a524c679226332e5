"""What a training run tells when it is done: tables, words, dictionaries, files."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from fpemu import text

if TYPE_CHECKING:
    from fpemu.training import Run


def short(name: str) -> str:
    """A run's name as it fits into a column."""
    return name if len(name) <= 26 else name[:23] + "..."


def report(runs: dict[str, Run]) -> str:
    """The runs' results, in words what broke, then per layer and role what each run lost."""
    policies = [f"{name}: {run.policy}" for name, run in runs.items() if str(run.policy) != name]
    words = [line for name, run in runs.items() for line in _in_words(name, run)]
    parts = ["\n".join(policies), _results_table(runs), "\n".join(words)]
    watch = max(run.watch for run in runs.values())
    if watch:
        parts += [_losses_table(runs), "\n".join(_LEGEND)]
    if watch > 1:
        parts.append(f"One step in {watch} was counted (--watch {watch}).")
    return "\n\n".join(part for part in parts if part)


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
                short(name),
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
    storage, group = run.policy.storage, run.optimizer.param_groups[0]
    lr = group.get("initial_lr", group["lr"])
    if fp.quantize(lr, storage) == 0:
        said.append(f"the learning rate {lr:g} is 0 in {storage.name}")
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
    if run.history.stopped:
        said.append(f"stopped early: {run.history.stopped}")
    otherwise = "nothing conspicuous" if run.watch else "nothing was counted (--watch 0)"
    return [f"{name}: {line}" for line in said or [otherwise]]


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
            rows.append([layer, role, short(name), str(loss.nonzero), *shares])
    header = ["layer", "role", "run", "values", "to zero", "subnormal", "overflow", "absorbed"]
    return text.table(header, rows)


def to_dicts(runs: dict[str, Run]) -> list[dict[str, Any]]:
    """The runs as plain data, for JSON."""
    from dataclasses import asdict

    from fpemu.diagnose import value_losses

    return [
        {
            "name": name,
            "policy": str(run.policy),
            "epochs": run.history.rows,
            "stopped": run.history.stopped,
            "first_nonfinite": run.history.first_nonfinite,
            "losses": [asdict(loss) for loss in value_losses(run.history.trace)],
            "places": run.history.trace.to_dicts(),
        }
        for name, run in runs.items()
    ]


def to_csv(runs: dict[str, Run]) -> str:
    """A row for each run and epoch."""
    rows = [{"run": name, **row} for name, run in runs.items() for row in run.history.rows]
    out = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
