"""`Override`: a pattern of modules, operations or places, and what is other there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fpemu import scaling
from fpemu.errors import ArgumentError, unknown
from fpemu.policy import passes
from fpemu.policy.lists import check_operation
from fpemu.policy.values import ends_in, model_of, value_of, written

# What can be said of single places, beside the fields of a policy for modules.
CASTS = ("format", "accumulate", "rounding", "saturation", "subnormals", "random_bits", "scaling")
# What is of the whole run, not of a module.
WHOLE = ("loss_scale", "overrides", "passes")
# Places that no module has.
BESIDE_MODULES = ("loss", "clip")


@dataclass(frozen=True)
class Override:
    """A pattern (``*`` and ``?`` as in file names) and what is other where it matches.

    ==========================  ====================================================================
    pattern                     matches
    ==========================  ====================================================================
    ``layers.0``, ``*.norm``    modules by place, and what stands below them
    ``@tanh``, ``@*_norm``      operations by name, wherever they stand, and the parameters of layers
                                that are named after them
    ``layers.2/weight_grad/*``  places
    ``@tanh/forward/*``         places in operations of that name
    ==========================  ====================================================================

    `changes` of modules and operations are fields of a `Policy` or keys such as
    "accumulate.weight_grad" (`fpemu.policy.passes`); what is said of a role as a whole holds for all its
    passes. Those of places are: format, accumulate (where sums are formed; a matrix unit: sums of
    products), rounding, saturation, subnormals, random_bits, scaling. Values may be text; `changes` a mapping.

    Raises `ArgumentError` for what is unknown, and for a pattern of operations that fits none.

    >>> Override("layers.0", {"weights": "fp32"})
    Override(pattern='layers.0', changes=(('weights', fp.FP32),))
    >>> print(Override("*/weight_grad/accumulate", {"accumulate": "fp16 kahan"}))
    */weight_grad/accumulate: accumulate='fp16 kahan'
    """

    pattern: str
    changes: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        put = object.__setattr__
        if not isinstance(self.pattern, str) or not re.fullmatch(r"[^\s:;#]+", self.pattern):
            raise ArgumentError(
                f"an override's pattern is one word without ':', ';' and '#', such as 'layers.0', "
                f"'@linear' or '*/forward/output'; got {self.pattern!r}"
            )
        if self.pattern.startswith("@"):
            self._check_kind()
        given: Any = self.changes
        pairs = list(given.items() if isinstance(given, Mapping) else given)
        put(self, "changes", tuple(self._settled(pairs)))
        if not self.changes:
            raise ArgumentError(f"the override {self.pattern!r} changes nothing; write role=format")

    def _check_kind(self) -> None:
        from fpemu.autograd.operations import TABLE

        kind = self.kind or ""
        if not any(fnmatchcase(name, kind) for name in TABLE):
            check_operation(kind, f"operation in the override {self.pattern!r}")

    def _settled(self, pairs: Iterable[Any]) -> Iterable[tuple[str, Any]]:
        allowed = self._allowed()
        seen = set()
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ArgumentError(
                    f"the override {self.pattern!r} takes pairs of a name and a value, got {pair!r}"
                )
            name, value = pair
            if name in seen:
                raise ArgumentError(f"{name!r} is given twice in the override {self.pattern!r}")
            seen.add(name)
            if not self.of_places and isinstance(name, str) and "." in name:
                yield passes.settled({name: value})[0]
                continue
            if name not in allowed:
                what = "setting of places" if self.of_places else "policy role"
                raise unknown(f"{what} in the override {self.pattern!r}", name, allowed)
            yield name, value_of(name, value)

    def _allowed(self) -> tuple[str, ...]:
        from fpemu.policy.policy import FIELDS

        return CASTS if self.of_places else tuple(name for name in FIELDS if name not in WHOLE)

    @property
    def of_places(self) -> bool:
        """Whether it is about places, not modules."""
        return "/" in self.pattern

    @property
    def kind(self) -> str | None:
        """The pattern of operations' names; None where it is not by operation."""
        return self.pattern[1:].partition("/")[0] if self.pattern.startswith("@") else None

    def matches(self, module: str, operation: str = "") -> bool:
        """Whether a pattern of modules or operations matches this one, or a module that it is in."""
        if self.kind is not None:
            return fnmatchcase(operation, self.kind)
        parts = module.split(".")
        above = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return any(fnmatchcase(name, self.pattern) for name in above)

    def at(self, module: str, operation: str) -> str | None:
        """A pattern of places as one of the places of this operation; None if it matches none of them."""
        head, _, tail = self.pattern.partition("/")
        if self.kind is not None:
            literal = re.sub(r"([*?[])", r"[\1]", module)
            return f"{literal}/{tail}" if fnmatchcase(operation, self.kind) else None
        return self.pattern if "*" in head or fnmatchcase(module, head) else None

    def suits(self, modules: Iterable[str]) -> bool:
        """Whether the pattern has wildcards, or names one of these modules, what they are in, or an
        operation that may stand in one of them."""
        from fpemu.autograd.operations import TABLE

        head = self.pattern.partition("/")[0]
        if self.kind is not None or re.search(r"[*?[]", head):
            return True
        known = {*modules, *BESIDE_MODULES}
        above, _, last = head.rpartition(".")
        operation = re.sub(r"_\d+$", "", last) in TABLE and (not above or above in known)
        return operation or any(f"{name}.".startswith(f"{head}.") for name in known)

    def check_suits(self, modules: Iterable[str]) -> None:
        """Raise `ArgumentError` unless it `suits` these modules."""
        known = [*modules, *BESIDE_MODULES]
        if not self.suits(known):
            head = self.pattern.partition("/")[0]
            raise unknown(f"module in the override '{self}':", head, dict.fromkeys(known))

    def casts(self) -> Mapping[str, Any]:
        """The changes as fields of a `Cast`; "sums" are those of sums only: format and model."""
        made: dict[str, Any] = {}
        for name, value in self.changes:
            if name == "scaling":
                made["scale_rule"] = scaling.RULES[value]
            elif name == "accumulate":
                made["sums"] = {"format": ends_in(value), "model": model_of(value)}
            else:
                made[name] = value
        return made

    def __str__(self) -> str:
        said = " ".join(f"{name}={written(value)}" for name, value in self.changes)
        return f"{self.pattern}: {said}"
