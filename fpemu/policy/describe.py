"""What a policy means: the range of every role's format, what becomes of values outside it, how products
accumulate."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fpemu import exact, text
from fpemu import rounding as vocabulary
from fpemu.errors import UnsupportedError
from fpemu.formats import Format
from fpemu.matrix_units import MatrixUnit
from fpemu.numerals import decimal
from fpemu.policy.contradictions import PRODUCTS
from fpemu.policy.values import SUMS, ends_in, written

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

# What a role is the format of, in a few words.
MEANING = {
    "weights": "what products read as weights",
    "activations": "what products read as input, layers' results",
    "gradients": "what products read as gradient, gradients that are handed back",
    "accumulate": "products and partial sums",
    "inner": "steps inside what is no product",
    "master": "stored weights",
    "outputs": "results of layers and biases",
    "loss": "the loss, step by step",
    "gradient_sum": "gradients added over micro-batches",
    "momentum": "the optimizer's first moments",
    "variance": "its second moments",
    "update_in": "what the optimizer computes in",
}


def describe(policy: Policy) -> dict[str, Any]:
    """The facts, as data: the text, a row per role, the settings, a row per product, lists, overrides.

    >>> from fpemu.policy import Policy
    >>> describe(Policy.parse("fp16_master"))["roles"][0]["to_zero"]
    '<= 2.98e-8'
    """
    return {
        "policy": str(policy),
        "roles": [_role(policy, name) for name in MEANING if _is_said(policy, name)],
        "settings": {
            name: {"value": getattr(policy, name), "means": meaning[getattr(policy, name)]}
            for name, meaning in (
                ("rounding", vocabulary.ROUNDING),
                ("saturation", vocabulary.SATURATION),
                ("subnormals", vocabulary.SUBNORMALS),
            )
        }
        | {name: getattr(policy, name) for name in ("scaling", "loss_scale", "update")},
        "products": _products(policy),
        "lists": {n: list(getattr(policy, n)) for n in ("low", "fp32", "promote", "leave")},
        "overrides": [str(line) for line in policy.overrides],
    }


def _is_said(policy: Policy, name: str) -> bool:
    return getattr(policy, name) is not None


def _role(policy: Policy, name: str) -> dict[str, Any]:
    value = getattr(policy, name)
    f = ends_in(value) if name in SUMS else value
    return {
        "role": name,
        "says": written(value),
        "format": f.name,
        "largest": decimal(f.max),
        "smallest_normal": decimal(f.smallest_normal),
        "smallest_subnormal": decimal(f.smallest_subnormal),
        "to_zero": to_zero(f, policy.rounding, policy.subnormals),
        "beyond": beyond(f, policy.rounding, policy.saturation),
        "means": MEANING[name],
    }


def to_zero(f: Format, rounding: str, subnormals: str) -> str:
    """Which positive numbers become 0 in `f`, in words of a few characters.

    >>> from fpemu.formats import E4M3, E8M0
    >>> to_zero(E4M3, "nearest_even", "gradual"), to_zero(E4M3, "toward_zero", "gradual")
    ('<= 0.000977', '< 0.00195')
    >>> to_zero(E4M3, "nearest_even", "ftz"), to_zero(E8M0, "nearest_even", "gradual")
    ('< 0.0146', 'none')
    """
    least, normal = Fraction(f.smallest_subnormal), Fraction(f.smallest_normal)
    if not f.has_zero:
        return "none"
    flushes = "ftz" in subnormals
    if flushes and least < normal:  # a result that is subnormal after it was rounded
        below = normal - least
        return {
            "nearest_even": f"< {_short(below + least / 2)}",
            "nearest_away": f"< {_short(below + least / 2)}",
            "toward_positive": f"<= {_short(below)}",
            "to_odd": f"< {_short(normal)}",
            "stochastic": f"< {_short(normal)}, by chance from {_short(below)}",
        }.get(rounding, f"< {_short(normal)}")
    return {
        "nearest_even": f"<= {_short(least / 2)}",
        "nearest_away": f"< {_short(least / 2)}",
        "toward_positive": "none",
        "to_odd": "none",
        "stochastic": f"< {_short(least)}, by chance",
    }.get(rounding, f"< {_short(least)}")


def beyond(f: Format, rounding: str, saturation: str) -> str:
    """What a number twice the largest becomes: inf, nan, or the largest.

    >>> from fpemu.formats import E4M3, E5M2
    >>> beyond(E4M3, "nearest_even", "none"), beyond(E5M2, "nearest_even", "none")
    ('nan', 'inf')
    >>> beyond(E5M2, "nearest_even", "finite")
    '57344'
    """
    mode = "nearest_even" if rounding == "stochastic" else rounding
    return decimal(exact.round_to(2 * Fraction(f.max), f, rounding=mode, saturation=saturation))


def _products(policy: Policy) -> list[dict[str, str]]:
    """The three products of a linear layer of which no override says anything."""
    site = policy._site("", "linear", (policy.activations, policy.weights))
    site = dataclasses.replace(site, changes=(), _casts={})
    rows = []
    for which, roles in PRODUCTS.items():
        # What the forward product has read is read again, unless the pass is named.
        reads = [
            site.rule(role, which if (role, which) in site.passes else "forward").format
            for role in roles
        ]
        rule = site.rule("accumulate", f"{which}/accumulate")
        ends, evidence = rule.format, ""
        if isinstance(rule.model, MatrixUnit):
            try:
                instruction = rule.model.on(*reads)
                ends, evidence = instruction.result_format, instruction.evidence
            except UnsupportedError as error:  # lines of places may change the operands
                evidence = str(error)
        leaves = site.rule(
            "activations" if which == "forward" else "gradients", f"{which}/output", result=True
        )
        rows.append(
            {
                "product": which,
                "reads": " x ".join(f"{role} {f}" for role, f in zip(roles, reads, strict=True)),
                "accumulates": str(rule.model),
                "ends_in": ends.name,
                "leaves_as": leaves.format.name,
                "evidence": evidence,
            }
        )
    return rows


def as_text(policy: Policy) -> str:
    """The facts of `describe` for a terminal."""
    facts = describe(policy)
    columns = (
        *("role", "says", "largest", "smallest_normal", "smallest_subnormal", "to_zero"),
        *("beyond", "means"),
    )
    rows = [[_cell(row[name], name) for name in columns] for row in facts["roles"]]
    header = [name.replace("_", " ") for name in columns]
    parts = [facts["policy"], text.table(header, rows, left=True)]
    settings = facts["settings"]
    said = [f"{n} {v['value']}: {v['means']}" for n, v in settings.items() if isinstance(v, dict)]
    said += [
        f"{name.replace('_', ' ')} {written(settings[name])}" for name in ("scaling", "loss_scale")
    ]
    parts.append("\n".join([*said, f"update {settings['update']}"]))
    products = [
        [row["product"], row["reads"], row["accumulates"], row["ends_in"], row["leaves_as"]]
        for row in facts["products"]
    ]
    titles = ["product", "reads", "accumulates", "ends in", "leaves as"]
    parts.append("of a linear layer:\n" + text.table(titles, products, left=True))
    evidence = {row["accumulates"]: row["evidence"] for row in facts["products"] if row["evidence"]}
    if evidence:
        parts.append("\n".join(f"{unit}: {said}" for unit, said in evidence.items()))
    lists = [f"{name}: {', '.join(names)}" for name, names in facts["lists"].items() if names]
    if lists:
        parts.append("\n".join(lists))
    if facts["overrides"]:
        lines = [f"{n}. {line}" for n, line in enumerate(facts["overrides"], 1)]
        parts.append("\n".join(["overrides, the first that matches counts:", *lines]))
    return "\n\n".join(parts)


def differences(a: Policy, b: Policy) -> list[dict[str, str]]:
    """What one policy says and another does not: a row per field, key of passes or override.

    >>> from fpemu.policy import policies
    >>> differences(policies["fp16"], policies["fp16_master"])[1]
    {'what': 'master', 'a': 'none', 'b': 'fp32'}
    """
    rows = []
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "passes":
            mine, theirs = dict(x), dict(y)
        elif field.name == "overrides":
            mine = {f"{o.pattern} (override)": str(o).partition(": ")[2] for o in x}
            theirs = {f"{o.pattern} (override)": str(o).partition(": ")[2] for o in y}
        else:
            mine, theirs = {field.name: x}, {field.name: y}
        for key in dict.fromkeys((*mine, *theirs)):
            if mine.get(key) != theirs.get(key):
                pair = (_said_or_not(mine, key), _said_or_not(theirs, key))
                rows.append({"what": key, "a": pair[0], "b": pair[1]})
        same = [str(o) for o in x] if field.name == "overrides" else []
        if same and sorted(same) == sorted(map(str, y)) and x != y:
            order = [", ".join(o.pattern for o in lines) for lines in (x, y)]
            rows.append({"what": "order of overrides", "a": order[0], "b": order[1]})
    return rows


def _said_or_not(said: dict[str, Any], key: str) -> str:
    return written(said[key]).strip("'") or "-" if key in said else "-"


def summary(policy: Policy) -> dict[str, str]:
    """A policy in one row: the formats that most tell it from others, and the rest as text."""
    shown = ("weights", "activations", "gradients", "accumulate", "master", "outputs", "loss")
    row = {name: written(getattr(policy, name)).strip("'") for name in shown}
    others = [
        f"{field.name}={written(getattr(policy, field.name))}"
        for field in dataclasses.fields(policy)
        if field.name not in (*shown, "passes", "overrides")
        and getattr(policy, field.name) != field.default
    ]
    others += [f"{key}={written(value)}" for key, value in policy.passes]
    others += [str(line) for line in policy.overrides]
    return {**row, "others": "; ".join(others) or "-"}


def _cell(value: Any, name: str) -> str:
    exact_decimals = ("largest", "smallest_normal", "smallest_subnormal", "beyond")
    finite = name in exact_decimals and value not in ("inf", "nan")
    return _short(Fraction(value)) if finite else str(value)


def _short(x: Fraction) -> str:
    """Three significant digits, whole numbers below a million in full.

    >>> _short(Fraction(448)), _short(Fraction(1, 2**24)), _short(Fraction(2) ** 127)
    ('448', '5.96e-8', '1.7e+38')
    >>> _short(Fraction(1, 2**1075))
    '2.47e-324'
    """
    if x.denominator == 1 and x < 10**6:
        return str(x.numerator)
    number = Decimal(x.numerator) / Decimal(x.denominator)  # float64 has no half of its smallest
    base, _, exponent = f"{number:.3g}".partition("e")
    base = base.rstrip("0").rstrip(".") if "." in base else base
    return f"{base}e{int(exponent):+d}" if exponent else base
