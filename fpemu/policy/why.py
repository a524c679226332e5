"""Which word of a policy decides how a value is rounded at a place."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fpemu.formats import FP32, Format
from fpemu.matrix_units import MatrixUnit
from fpemu.policy import passes
from fpemu.policy.lists import rule_of
from fpemu.policy.override import Override
from fpemu.policy.values import written

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy


def decided(
    policy: Policy,
    place: str,
    operation: str,
    formats: tuple[Format, ...],
    role: str,
    where: str,
    result: bool,
) -> str:
    """The word that gives the format (for sums: the model) at ``place/where``, as the policy writes it;
    behind a semicolon a line that changes something else there.

    >>> from fpemu.policy import Policy
    >>> p = Policy.parse("bf16 gradients.weight_grad=e5m2; layers.0/forward/*: rounding=to_odd")
    >>> decided(p, "layers.0", "linear", (), "gradients", "weight_grad/output_grad", False)
    'gradients.weight_grad=e5m2'
    >>> decided(p, "layers.0", "linear", (), "weights", "forward/weight", False)
    'weights=bf16; override 1 (layers.0/forward/*: rounding=to_odd)'
    """
    found = line_of_places(policy, place, operation, where)
    if found is None:
        return _word(policy, place, operation, formats, role, where, result)
    number, line = found
    said = f"override {number} ({line})"
    changes = dict(line.changes)
    names, sums = set(changes), changes.get("accumulate")
    adds = role == "accumulate" or (role == "inner" and not isinstance(sums, MatrixUnit))
    if "format" in names or (adds and sums is not None):
        return said
    word = _word(policy, place, operation, formats, role, where, result)
    if names == {"accumulate"}:
        return word
    return f"{word}; {said}"


def line_of_places(
    policy: Policy, place: str, operation: str, where: str
) -> tuple[int, Override] | None:
    """The first override of places that matches ``place/where``, and its number in the policy."""
    for number, line in enumerate(policy.overrides, 1):
        pattern = line.at(place, operation) if line.of_places else None
        if pattern and fnmatchcase(f"{place}/{where}", pattern):
            return number, line
    return None


def _word(
    policy: Policy,
    place: str,
    operation: str,
    formats: tuple[Format, ...],
    role: str,
    where: str,
    result: bool,
) -> str:
    here = policy.at(place, operation)
    rule = rule_of(here, operation)
    wide = rule.format(formats)
    if wide is not None:
        inside = role in ("accumulate", "inner") and wide.precision < FP32.precision
        if not inside and (role != "loss" or rule.name == "fp32"):
            return _from(policy, place, operation, rule.name, str(rule))
        return _of_role(policy, here, place, operation, role)
    found = passes.find(here.passes, "outputs" if result else role, where)
    if found:
        return _from(policy, place, operation, found[0], f"{found[0]}={written(found[1])}")
    if result and here.outputs:
        role = "outputs"
    return _of_role(policy, here, place, operation, role)


def _of_role(policy: Policy, here: Policy, place: str, operation: str, role: str) -> str:
    if role == "inner" and here.inner is None:
        role = "accumulate"
    return _from(policy, place, operation, role, f"{role}={written(getattr(here, role))}")


def outside(policy: Policy, module: str, kind: str, where: str, f: str) -> str:
    """The word behind the format `f` at a place outside of operations: where parameters are stored,
    gradients added, weights updated."""
    here = policy.at(module, kind)
    name = "master" if here.master else "weights"
    step = where.rpartition("/")[2]
    if step == "gradient_sum":
        name = "gradient_sum" if here.gradient_sum else "gradients"
    elif where.startswith("update/") and step != "store":
        moment = "variance" if _SQUARES & set(step.split("_")) else "momentum"
        if f == str(getattr(here, moment)) and f != str(here.storage) and f != str(here.update_in):
            name = moment
        elif here.update_in and not step.endswith("_store"):
            name = "update_in"
    elif where.startswith("clip/"):
        name = "gradients"
    return _of_role(policy, here, module, kind, name)


# Words in the names of steps whose results are kept as second moments.
_SQUARES = {"variance", "sum", "square", "sq", "largest"}


def _from(policy: Policy, module: str, operation: str, name: str, word: str) -> str:
    """`word`, and the override of modules that says it, if one does."""
    line = policy.override_of(module, operation)
    if line is None or name not in dict(line.changes):
        return word
    return f"override {policy.overrides.index(line) + 1} ({line.pattern}: {word})"
