"""``fpemu policy``: what a precision policy says, what it does to a model, how two differ."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpemu import text
from fpemu.cli.options import add_json, integer, names, print_json
from fpemu.errors import ArgumentError, FpemuError

if TYPE_CHECKING:
    from fpemu.policy import Policy


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "policy",
        help="what a precision policy says, place by place",
        description="Describe a policy: the range of each role's format, what becomes 0 or overflows, "
        "how products accumulate. Or list the presets, compare two policies, or list every place of a "
        "model and what happens there.",
    )
    parser.add_argument(
        "policy",
        nargs="?",
        help='a preset such as fp16_master, "role=format ...", or a file (.toml, .json, .txt)',
    )
    parser.add_argument("--list", action="store_true", help="the presets in one table")
    parser.add_argument("--diff", metavar="POLICY", help="where another policy differs")
    parser.add_argument(
        "--explain",
        metavar="MODEL",
        help="every place of a model: mlp, cnn (on 28 x 28), or FILE.py that sets model, and batch or shape",
    )
    parser.add_argument("--sizes", default="64,32,10", help="of the mlp (default 64,32,10)")
    parser.add_argument("--batch-size", default="32", help="rows of the mlp's batch (default 32)")
    add_json(parser)
    parser.add_argument("--toml", action="store_true", help="print the policy as TOML")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    from fpemu.policy import as_policy

    asked = [name for name in ("list", "diff", "explain", "toml") if getattr(options, name)]
    if len(asked) > 1:
        raise ArgumentError(f"--{asked[0]} and --{asked[1]} exclude each other; give one of them")
    if options.toml and options.json:
        raise ArgumentError("--toml and --json exclude each other; give one of them")
    if options.list:
        if options.policy is not None:
            raise ArgumentError("--list takes no policy; leave it out, or leave out --list")
        _list(options.json)
        return 0
    if options.policy is None:
        raise ArgumentError(
            'name a policy, for example: fpemu policy fp16_master; or "fpemu policy --list"'
        )
    policy = as_policy(options.policy)
    if options.diff is not None:
        _diff(options, policy, as_policy(options.diff))
    elif options.explain is not None:
        _explain(options, policy)
    elif options.toml:
        print(policy.to_toml(), end="")
    elif options.json:
        from fpemu.policy.describe import describe

        print_json({"form": policy.to_dict(), **describe(policy)})
    else:
        from fpemu.policy.describe import as_text

        print(as_text(policy))
    return 0


def _list(as_json: bool) -> None:
    from fpemu.policy import policies
    from fpemu.policy.describe import summary

    rows = [{"name": name, **summary(policy)} for name, policy in policies.items()]
    if as_json:
        print_json([{**row, "policy": str(policies[row["name"]])} for row in rows])
    else:
        print(text.table(list(rows[0]), [list(row.values()) for row in rows], left=True))


def _diff(options: argparse.Namespace, a: Policy, b: Policy) -> None:
    from fpemu.policy.describe import differences

    rows = differences(a, b)
    if options.json:
        print_json({"a": str(a), "b": str(b), "differences": rows})
    elif not rows:
        print("the same policy")
    else:
        header = ["", options.policy, options.diff]
        print(text.table(header, [list(row.values()) for row in rows], left=True))


def _explain(options: argparse.Namespace, policy: Policy) -> None:
    model, inputs, optimizer = _model(options)
    explanation = policy.explain(model, inputs, optimizer=optimizer)
    if options.json:
        print_json({"policy": str(policy), "places": explanation.to_dicts()})
    else:
        print(explanation)


def _model(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The model to be explained, a batch or its shape, and an optimizer if there is one."""
    if options.explain in ("mlp", "cnn"):
        from fpemu import nn, optim

        sizes = [integer(n, "--sizes", low=1, high=10**6) for n in names(options.sizes)]
        rows = integer(options.batch_size, "--batch-size", low=1, high=10**9)
        image = (1, 28, 28)
        model = nn.mlp(sizes) if options.explain == "mlp" else nn.cnn(image, 10)
        row = (sizes[0],) if options.explain == "mlp" else image
        return model, (rows, *row), optim.SGD(model.parameters())
    path = Path(options.explain)
    if path.suffix != ".py" or not path.is_file():
        raise ArgumentError(
            f"--explain takes mlp, cnn, or a FILE.py that sets model, and batch or shape; got "
            f"{options.explain!r}"
        )
    try:
        found = runpy.run_path(str(path))
    except FpemuError:
        raise
    except Exception as error:  # whatever a file of the user's does
        raise ArgumentError(f"{path}: {type(error).__name__}: {error}") from error
    inputs = found.get("batch", found.get("shape"))
    if "model" not in found or inputs is None:
        raise ArgumentError(f"{path} must set model, and batch or shape (a tuple of integers)")
    return found["model"], inputs, found.get("optimizer")
