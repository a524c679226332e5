"""Policies as text: ``fp16_master accumulate='h100 mma'; *.norm: weights=fp32``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fpemu.errors import ArgumentError, unknown
from fpemu.policy import passes
from fpemu.policy.contradictions import covers
from fpemu.policy.override import WHOLE, Override
from fpemu.policy.values import value_of
from fpemu.policy.values import written as written_value

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

_WORD = re.compile(r"""(?:[^\s,'"]|'[^']*'|"[^"]*"|,(?=\S))+""")


def parse(text: str) -> Policy:
    """See `Policy.parse`."""
    from fpemu.policy.policy import Policy
    from fpemu.policy.presets import policies

    first, *rest = str(text).split(";")
    base, pairs = Policy(), []
    for position, word in enumerate(_words(first)):
        name, equals, value = word.partition("=")
        if equals:
            pairs.append((name, value))
        elif position > 0:
            raise ArgumentError(
                f"policy word {word!r} is not understood; write role=format, with a role of: "
                + ", ".join(_fields())
            )
        elif word.lower() not in policies:
            raise unknown("policy", word, [*policies, '"role=format ..."'])
        else:
            base = policies[word.lower()]
    if not _words(first) and not any(_words(part) for part in rest):
        raise ArgumentError("the policy is empty; give a preset's name or role=format pairs")
    return changed(base, pairs, [_override(part) for part in rest if _words(part)])


def changed(
    base: Policy, pairs: Iterable[tuple[str, Any]], overrides: Iterable[Override] = ()
) -> Policy:
    """`base` with what the pairs say, and `overrides` before its own: what is said later is said of it.
    Lines of `base` that a new one leaves nothing to are replaced by it."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if "." in name:
            passes.check(name)
        elif name not in _fields():
            raise unknown("policy role", name, _fields())
        if name in made:
            raise ArgumentError(f"policy role {name!r} is given twice")
        made[name] = value_of(name.partition(".")[0], value)
    new = tuple(overrides)
    kept = (old for old in base.overrides if not any(covers(line, old) for line in new))
    return base.changed({**made, "overrides": (*new, *kept)})


def _override(text: str) -> Override:
    pattern, colon, said = text.partition(":")
    pattern = pattern.strip()
    if not colon or not pattern or not said.strip():
        raise ArgumentError(
            f"policy override {text.strip()!r} is not understood; write pattern: role=format, for example "
            "'layers.0: weights=fp32' or '*/weight_grad/accumulate: format=fp32'"
        )
    pairs = [word.partition("=") for word in _words(said)]
    bare = [name for name, equals, _ in pairs if not equals]
    if bare:
        raise ArgumentError(
            f"{bare[0]!r} in the override {pattern!r} is not understood; write role=format"
        )
    return Override(pattern, tuple((name, value) for name, _, value in pairs))


def _words(text: str) -> list[str]:
    return [word.rstrip(",") for word in _WORD.findall(text) if word.rstrip(",")]


def _fields() -> tuple[str, ...]:
    from fpemu.policy.policy import FIELDS

    return tuple(name for name in FIELDS if name not in WHOLE or name == "loss_scale")


def words(policy: Policy) -> list[str]:
    """The four main roles and whatever differs from default, as ``name=value``."""
    from fpemu.policy.policy import MAIN

    said = []
    for field in dataclasses.fields(policy):
        value = getattr(policy, field.name)
        if field.name in MAIN or (field.name in _fields() and value != field.default):
            said.append(f"{field.name}={written_value(value)}")
    return said + [f"{key}={written_value(value)}" for key, value in policy.passes]


def written(policy: Policy) -> str:
    """See `Policy.__str__`."""
    return "; ".join([" ".join(words(policy)), *map(str, policy.overrides)])
