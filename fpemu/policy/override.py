"""`Override`: a pattern of modules or of places, and what is other there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

# What can be said of single places, beside the fields of a policy for modules.
CASTS = ("format", "accumulate", "rounding", "saturation", "subnormals", "random_bits", "scaling")


@dataclass(frozen=True)
class Override:
    """A pattern (``*`` and ``?`` as in file names) and what is other where it matches.

    A pattern without a slash is one of modules, such as ``layers.0`` or ``*.norm``; `changes` are then
    fields of a `Policy`. One with a slash is one of places, such as ``layers.2/weight_grad/*`` or
    ``*/forward/output``; `changes` are then of: format, accumulate (where the place ends so), rounding,
    saturation, subnormals, random_bits, scaling.
    """

    pattern: str
    changes: tuple[tuple[str, Any], ...]

    @property
    def of_places(self) -> bool:
        """Whether it is about places, not modules."""
        return "/" in self.pattern

    def matches(self, name: str) -> bool:
        """Whether the pattern matches a module's or a place's name."""
        return fnmatchcase(name, self.pattern)

    def may_match(self, module: str) -> bool:
        """Whether a pattern of places can match places of this module."""
        return fnmatchcase(module, self.pattern.partition("/")[0])

    def casts(self) -> Mapping[str, Any]:
        """The changes as fields of a `Cast`."""
        from fpemu.formats import Format
        from fpemu.scaling import RULES

        made: dict[str, Any] = {}
        for name, value in self.changes:
            if name == "scaling":
                made["scale_rule"] = RULES[value]
            elif name == "accumulate" and not isinstance(value, Format):
                made["model"] = value
            else:
                made["format" if name == "accumulate" else name] = value
        return made
