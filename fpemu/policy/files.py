"""Policies as dictionaries, JSON, TOML and files."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fpemu.accumulation import Accumulator
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import Format, as_format
from fpemu.policy import text
from fpemu.policy.override import Override
from fpemu.policy.policy import FIELDS, MAIN, Policy
from fpemu.policy.presets import policies

SUFFIXES = (".toml", ".json", ".txt")


def as_policy(said: Policy | str | os.PathLike[str]) -> Policy:
    """A policy as it is, from its text, or from a file whose name ends in .toml, .json or .txt.

    >>> as_policy("bf16").weights
    fp.BF16
    """
    if isinstance(said, Policy):
        return said
    if isinstance(said, os.PathLike):
        return load(said)
    if not isinstance(said, str):
        raise ArgumentError(f"a policy is a Policy, its text or a file's path, got {said!r}")
    return load(said) if is_path(said) else Policy.parse(said)


def is_path(said: str) -> bool:
    """Whether `said` names a file, and is not the text of a policy."""
    return said.lower().endswith(SUFFIXES) and "=" not in said


def load(path: str | os.PathLike[str]) -> Policy:
    """See `Policy.load`."""
    kinds: dict[str, Callable[[str], Policy]] = {".toml": from_toml, ".json": from_json}
    read = kinds.get(_suffix(path), Policy.parse)
    try:
        said = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArgumentError(f"cannot read the policy in {os.fspath(path)!r}: {why}") from None
    try:
        return read(said)
    except ArgumentError as error:
        raise ArgumentError(f"{os.fspath(path)}: {error}") from None


def save(policy: Policy, path: str | os.PathLike[str]) -> None:
    """See `Policy.save`."""
    kinds: dict[str, Callable[[Policy], str]] = {".toml": to_toml, ".json": to_json}
    said = kinds.get(_suffix(path), str)(policy)
    if _suffix(path) == ".txt":
        read_back(policy, said)
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_text(said.rstrip("\n") + "\n", "utf-8")
        os.replace(partial, target)
    except OSError as error:
        raise ArgumentError(
            f"cannot write {os.fspath(path)!r}: {error.strerror or error}"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def read_back(policy: Policy, said: str) -> None:
    """Raise `ArgumentError` unless the text is that of `policy`: formats of one's own have no name
    that text could read."""
    try:
        same = Policy.parse(said) == policy
    except ArgumentError:
        same = False
    if not same:
        raise ArgumentError(
            "the policy holds a format that text cannot name; save it as .toml or .json"
        )


def to_dict(policy: Policy) -> dict[str, Any]:
    """See `Policy.to_dict`."""
    said: dict[str, Any] = {}
    for field in dataclasses.fields(policy):
        value = getattr(policy, field.name)
        if field.name == "passes":
            said.update((key, _plain(v)) for key, v in value)
        elif field.name == "overrides":
            if value:
                said["overrides"] = [
                    {"pattern": o.pattern, **{name: _plain(v) for name, v in o.changes}}
                    for o in value
                ]
        elif field.name in MAIN or value != field.default:
            said[field.name] = _plain(value)
    return said


def from_dict(said: Mapping[str, Any]) -> Policy:
    """See `Policy.from_dict`."""
    if not isinstance(said, Mapping):
        raise ArgumentError(f"a policy is a table of fields, got {said!r}")
    rest = {str(name): value for name, value in said.items()}
    preset, lines = rest.pop("preset", "fp32"), rest.pop("overrides", ())
    if not isinstance(preset, str) or preset.lower() not in policies:
        raise unknown("policy", preset, policies)
    for name in rest:
        if name not in FIELDS and "." not in name:
            raise unknown("policy role", name, ["preset", *FIELDS])
    if not isinstance(lines, (list, tuple)) or not all(isinstance(o, Mapping) for o in lines):
        raise ArgumentError(
            f"overrides is a list of tables, each with a pattern and what is other there; got {lines!r}"
        )
    pairs = [(name, _value(value)) for name, value in rest.items()]
    return text.changed(policies[preset.lower()], pairs, [_override(line) for line in lines])


def _override(line: Mapping[str, Any]) -> Override:
    changes = {name: _value(value) for name, value in line.items() if name != "pattern"}
    if "pattern" not in line:
        raise ArgumentError(f"an override has a pattern, such as 'layers.0'; got {dict(line)!r}")
    return Override(line["pattern"], tuple(changes.items()))


def to_json(policy: Policy) -> str:
    """See `Policy.to_json`."""
    return json.dumps(to_dict(policy), indent=2)


def from_json(said: str) -> Policy:
    """See `Policy.from_json`."""
    try:
        return from_dict(json.loads(said))
    except json.JSONDecodeError as error:
        raise ArgumentError(f"this is not JSON: {error}") from None


def to_toml(policy: Policy) -> str:
    """See `Policy.to_toml`."""
    said = to_dict(policy)
    lines = said.pop("overrides", [])
    tables = [_table(said), *("[[overrides]]\n" + _table(line) for line in lines)]
    return "\n".join(tables)


def from_toml(said: str) -> Policy:
    """See `Policy.from_toml`."""
    try:
        return from_dict(tomllib.loads(said))
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"this is not TOML: {error}") from None


def _table(pairs: Mapping[str, Any]) -> str:
    return "".join(f"{_key(name)} = {_toml(value)}\n" for name, value in pairs.items())


def _key(name: str) -> str:
    return json.dumps(name) if "." in name else name


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(v)}" for name, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's strings and numbers are TOML's, but for characters beyond those of 16 bits, kept as they are.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _plain(value: Any) -> Any:
    """A field's value as strings, numbers and lists."""
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return "none"
    if isinstance(value, Format):
        return value.name if _known(value) else _described(value)
    if isinstance(value, Accumulator):
        try:
            same = Accumulator.parse(str(value)) == value
        except ArgumentError:
            same = False
        if not same:
            raise ArgumentError(
                f"{value} holds a format of one's own, which has no name to be written in a file"
            )
    return str(value)


def _known(f: Format) -> bool:
    try:
        return as_format(f.name) == f
    except ArgumentError:
        return False


def _described(f: Format) -> dict[str, Any]:
    facts = {field.name: getattr(f, field.name) for field in dataclasses.fields(f)}
    return {name: value for name, value in facts.items() if value is not None}


def _value(value: Any) -> Any:
    """What a file says of a field; tables are formats of one's own."""
    if not isinstance(value, Mapping):
        return value
    allowed = [field.name for field in dataclasses.fields(Format)]
    wrong = [name for name in value if name not in allowed]
    if wrong:
        raise unknown("setting of a format", wrong[0], allowed)
    try:
        return Format(**value)
    except TypeError as error:
        raise ArgumentError(f"a format of one's own lacks something: {error}") from None


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise unknown("kind of policy file", suffix or os.fspath(path), SUFFIXES)
    return suffix
