"""Policies as text: ``fp16_master accumulate='h100 mma'; *.norm: weights=fp32``."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from fpemu.errors import ArgumentError, unknown
from fpemu.formats import Format, as_format
from fpemu.policy.lists import RULES as LISTS
from fpemu.policy.override import CASTS, Override
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS
from fpemu.scaling import RULES as SCALING

if TYPE_CHECKING:
    from fpemu.policy.policy import Policy

_WORD = re.compile(r"""(?:[^\s,'"]|'[^']*'|"[^"]*"|,(?=\S))+""")


def parse(text: str) -> Policy:
    """See `Policy.parse`."""
    from fpemu.policy.policy import Policy
    from fpemu.policy.presets import policies

    first, *rest = str(text).split(";")
    policy, given = Policy(), set()
    for position, word in enumerate(_words(first)):
        role, equals, value = word.partition("=")
        if not equals:
            if position > 0:
                raise ArgumentError(
                    f"policy word {word!r} is not understood; write role=format, with a role of: "
                    + ", ".join(_fields())
                )
            if word.lower() not in policies:
                raise unknown("policy", word, [*policies, '"role=format ..."'])
            policy = policies[word.lower()]
            continue
        if role not in _fields():
            raise unknown("policy role", role, _fields())
        if role in given:
            raise ArgumentError(f"policy role {role!r} is given twice")
        given.add(role)
        policy = dataclasses.replace(policy, **{role: value_of(role, value)})
    if not _words(first) and not any(_words(part) for part in rest):
        raise ArgumentError("the policy is empty; give a preset's name or role=format pairs")
    more = tuple(_override(part) for part in rest if _words(part))
    # What is said later is said of a preset: it goes before the preset's own.
    return dataclasses.replace(policy, overrides=(*more, *policy.overrides)) if more else policy


def _override(text: str) -> Override:
    pattern, colon, said = text.partition(":")
    pattern = pattern.strip()
    if not colon or not pattern or not said.strip():
        raise ArgumentError(
            f"policy override {text.strip()!r} is not understood; write pattern: role=format, for example "
            "'layers.0: weights=fp32' or '*/weight_grad/accumulate: format=fp32'"
        )
    allowed = CASTS if "/" in pattern else tuple(f for f in _fields() if f not in _WHOLE)
    changes: dict[str, Any] = {}
    for word in _words(said):
        name, equals, value = word.partition("=")
        if not equals or name not in allowed:
            what = "setting of places" if "/" in pattern else "policy role"
            raise unknown(f"{what} in the override {pattern!r}", name, allowed)
        if name in changes:
            raise ArgumentError(f"{name!r} is given twice in the override {pattern!r}")
        changes[name] = value_of(name, value)
    return Override(pattern, tuple(changes.items()))


# What is of the whole run, not of a module.
_WHOLE = ("loss_scale", "overrides")


def _words(text: str) -> list[str]:
    return [word.rstrip(",") for word in _WORD.findall(text) if word.rstrip(",")]


def _fields() -> tuple[str, ...]:
    from fpemu.policy.policy import FIELDS

    return tuple(name for name in FIELDS if name != "overrides")


def value_of(name: str, text: str) -> Any:
    """The value of a field from its text."""
    from fpemu.policy.policy import FORMATS, OPTIONAL, SUMS, as_sums

    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    if (name in OPTIONAL or name == "inner") and text.lower() == "none":
        return None
    if name in FORMATS or name == "format":
        return as_format(text)
    if name in SUMS:
        return as_sums(name, text)
    if name in LISTS:
        return tuple(part for part in text.split("+") if part)
    if name == "loss_scale":
        return number(text)
    if name == "random_bits":
        if not text.isdecimal():
            raise ArgumentError(f"random_bits must be an integer, got {text!r}")
        return int(text)
    words: dict[str, Any] = {
        "rounding": ROUNDING,
        "saturation": SATURATION,
        "subnormals": SUBNORMALS,
        "scaling": SCALING,
    }
    if name in words and text not in words[name]:
        raise unknown(name, text, words[name])
    return text


def written(policy: Policy) -> str:
    """See `Policy.__str__`."""
    from fpemu.policy.policy import MAIN

    words = []
    for field in dataclasses.fields(policy):
        value = getattr(policy, field.name)
        if field.name == "overrides":
            continue
        if field.name in MAIN or value != field.default:
            words.append(f"{field.name}={_text(value)}")
    parts = [" ".join(words)]
    for override in policy.overrides:
        said = " ".join(f"{name}={_text(value)}" for name, value in override.changes)
        parts.append(f"{override.pattern}: {said}")
    return "; ".join(parts)


def number(text: str) -> float:
    """A number as people write scales: ``1024``, ``0.5``, ``1e-3``, ``2^-20`` or ``2**15``.

    >>> number("2^-20") == 2.0**-20
    True
    """
    base, power, exponent = text.replace("**", "^").partition("^")
    try:
        return float(base) ** int(exponent) if power else float(base)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ArgumentError(
            f"{text!r} is not a number; write for example 1024, 0.5 or 2^-20"
        ) from None


def _text(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and value < 1e15 else repr(value)
    if isinstance(value, tuple):
        return "+".join(value)
    if isinstance(value, Format):
        return str(value)
    said = "none" if value is None else str(value)
    return f"'{said}'" if " " in said else said
