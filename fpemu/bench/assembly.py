"""What a compiled loop consists of, read from its assembly: how wide its vectors are, how many elements
an instruction computes.

>>> (loop,) = loops(EXAMPLE)
>>> loop.bits, loop.elements, loop.count("mul"), loop.uses
(256, 8, 1, ('avx', 'f16c'))
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

EXAMPLE = """
kernel:
	xorl	%r9d, %r9d
.LBB0_1:
	vmulps	(%r10,%r9,4), %ymm1, %ymm2
	vcvtps2ph	$4, %ymm2, %xmm2
	vcvtph2ps	%xmm2, %ymm2
	vmovups	%ymm2, (%rsi,%r9,4)
	addq	$8, %r9
	cmpq	%r9, %r14
	jne	.LBB0_1
	retq
"""

# Arithmetic of AT&T syntax: what it does, and the type, of which ss and sd are single elements.
_FLOAT = re.compile(
    r"v?(add|sub|mul|div|sqrt|max|min|and|andn|or|xor|fn?m(?:add|sub)\d+|cmp\w*?|blendm)(ps|pd|ss|sd)"
)
_HALF = re.compile(r"v?cvt(ps2ph|ph2ps)()")  # of float32 on one side
_INTEGER = re.compile(
    r"v?p(add|sub|and|andn|or|xor|max[su]|min[su]|sll|srl|sra|cmp\w*?|ternlog|blendm|test[nm]+)([dq])"
)
_SIZES = {"ps": 32, "ss": 32, "d": 32, "": 32, "pd": 64, "sd": 64, "q": 64}
_WIDTHS = {"x": 128, "y": 256, "z": 512}


@dataclass(frozen=True)
class Instruction:
    """One instruction that computes: what ("mul"), on how many bits at once, elements of which size."""

    name: str
    bits: int
    size: int

    @property
    def elements(self) -> int:
        return self.bits // self.size


@dataclass(frozen=True)
class Loop:
    """An innermost loop: its function, the instructions that compute, the number of all, and the parts
    of the instruction set that it needs."""

    function: str
    arithmetic: tuple[Instruction, ...]
    length: int
    uses: tuple[str, ...]

    @property
    def elements(self) -> int:
        """The fewest elements that an instruction which computes does at once."""
        return min((x.elements for x in self.arithmetic), default=0)

    @property
    def bits(self) -> int:
        """The width of a vector of so many of its elements (the results of comparisons, packed closer,
        may take less)."""
        return self.elements * max((x.size for x in self.arithmetic), default=0)

    def count(self, name: str) -> int:
        """How many instructions do this."""
        return sum(x.name == name for x in self.arithmetic)

    def turn(self, name: str) -> int:
        """How many elements they do this for in one turn of the loop."""
        return sum(x.elements for x in self.arithmetic if x.name == name)


def loops(text: str) -> Iterator[Loop]:
    """The innermost loops of all functions in x86-64 assembly as LLVM writes it."""
    for function, lines in _functions(text):
        labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
        ends: dict[int, int] = {}
        for i, line in enumerate(lines):
            word, _, target = line.partition("\t")
            start = labels.get(target, i + 1) if word.startswith("j") else i + 1
            if start <= i:
                ends[start] = max(i, ends.get(start, 0))
        for start, end in ends.items():
            if not any(start < other <= end for other in ends):
                yield _loop(function, lines[start : end + 1])


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines, without directives."""
    name, lines = "", list[str]()
    for raw in text.splitlines():
        line = raw.split("#")[0].strip()
        if line.endswith(":") and not line.startswith("."):
            yield name, lines
            name, lines = line[:-1], []
        elif line and not (line.startswith(".") and not line.startswith(".LBB")):
            lines.append(line)
    yield name, lines


def _loop(function: str, lines: list[str]) -> Loop:
    code = [line for line in lines if not line.endswith(":")]
    found = [x for x in map(_instruction, code) if x]
    return Loop(function, tuple(found), len(code), _instruction_sets(code))


def _instruction(line: str) -> Instruction | None:
    word, _, operands = line.partition("\t")
    match = next((m for p in (_FLOAT, _HALF, _INTEGER) if (m := p.fullmatch(word))), None)
    registers = re.findall(r"%([xyz])mm\d", operands)
    if match is None or not registers:
        return None
    if match[1] == "xor" and len(set(operands.replace(" ", "").split(","))) == 1:
        return None  # how a register is set to zero
    name, kind = re.sub(r"\d+$", "", match[1]) if "2p" not in match[1] else match[1], match[2]
    single = kind in ("ss", "sd")
    bits = _SIZES[kind] if single else max(_WIDTHS[r] for r in registers)
    return Instruction(name, bits, _SIZES[kind])


def _instruction_sets(code: list[str]) -> tuple[str, ...]:
    text = "\n".join(code)
    integer = any(re.match(r"vp.*%y", line) for line in code)
    rules = {
        "avx512": bool(re.search(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2\d|3[01])\b", text)),
        "avx2": integer,
        "avx": "%ymm" in text and not integer,
        "fma": bool(re.search(r"\bvfn?m(add|sub)", text)),
        "f16c": "2p" in text and bool(re.search(r"\bvcvt(ps2ph|ph2ps)", text)),
    }
    return tuple(name for name, used in rules.items() if used)
