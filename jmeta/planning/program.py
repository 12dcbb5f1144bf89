"""What a compiled program moves and launches, read from its text; loops count as often as they run.

The text is in HLO, the language of XLA, whose own analysis counts the body of a loop once; for GPUs there is
none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

BYTES = {"pred": 1, "token": 0, "c64": 8, "c128": 16}
"""Sizes of the types whose names do not end with their number of bits."""
FREE = frozenset(
    {
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"),
        *("replica-id", "opt-barrier", "add-dependency"),
    }
)
"""Instructions that move nothing and start nothing."""
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_ARRAY = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")
_OUTSIDE_MEMORY = re.compile(r"S\([1-9]\d*\)")
_PASSES = re.compile(r'known_trip_count["\']?:\s*\{["\']?n["\']?:\s*"?(\d+)')
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations|called_computations)=\{?([%\w.\-, ]+)")


class Instruction(NamedTuple):
    """One line of a program.

    Attributes:
        name: of its result.
        type: of its result, as text.
        kind: such as "fusion".
        arguments: what stands in its parentheses.
        rest: the attributes, as text.
    """

    name: str
    type: str
    kind: str
    arguments: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """The names of what it takes."""
        return re.findall(r"%([\w.\-]+)", self.arguments)

    def attribute(self, name: str) -> str:
        """The value of an attribute that is a name or a number; empty where there is none."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else ""

    @property
    def called(self) -> list[str]:
        """The names of the computations it calls."""
        found = _CALLED.search(self.rest)
        return [name.strip().lstrip("%") for name in found[1].split(",") if name.strip()] if found else []


class Traffic(NamedTuple):
    """What one run of a program moves on each device.

    Attributes:
        bytes: from and to memory; an upper bound where caches help.
        launches: instructions that are started one after another.
        collectives: kind -> (how many, bytes of their results).
    """

    bytes: float
    launches: float
    collectives: dict[str, tuple[float, float]]

    def times(self, count: float) -> Traffic:
        """That of `count` runs."""
        return Traffic(
            count * self.bytes,
            count * self.launches,
            {kind: (count * n, count * size) for kind, (n, size) in self.collectives.items()},
        )

    def plus(self, other: Traffic) -> Traffic:
        """That of both."""
        kinds = {*self.collectives, *other.collectives}
        both = {
            kind: (
                self.collectives.get(kind, (0, 0))[0] + other.collectives.get(kind, (0, 0))[0],
                self.collectives.get(kind, (0, 0))[1] + other.collectives.get(kind, (0, 0))[1],
            )
            for kind in kinds
        }
        return Traffic(self.bytes + other.bytes, self.launches + other.launches, both)


NOTHING = Traffic(0, 0, {})


def traffic_of(text: str) -> Traffic:
    """The traffic of a compiled program.

    A loop runs as often as the compiler states. If it does not, as for some loops on TPUs, the loop runs
    until its counter, which in `jax.lax.scan` starts at zero, reaches the constant in its condition. Any
    other loop counts once, and of the branches of a condition the one that moves most. An array that is only
    sliced counts by its slices.

    Args:
        text: as `jax.stages.Compiled.as_text` returns it.

    >>> text = '''
    ... ENTRY %main (x: f32[8]) -> f32[8] {
    ...   %x = f32[8]{0} parameter(0)
    ...   ROOT %sum = f32[8]{0} all-reduce(%x), channel_id=1
    ... }
    ... '''
    >>> traffic_of(text)
    Traffic(bytes=64, launches=1, collectives={'all-reduce': (1, 32)})
    """
    computations, entry = read_program(text)

    @cache
    def total(name: str) -> Traffic:
        result = NOTHING
        types = {one.name: one.type for one in computations[name]}
        for one in computations[name]:
            result = result.plus(_of_instruction(one, types, computations, total))
        return result

    return total(entry)


def read_program(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of every computation, by its name, and the name of the first to run."""
    computations: dict[str, list[Instruction]] = {}
    entry = current = ""
    for line in text.splitlines():
        if line.endswith("{") and (line.startswith(("%", "ENTRY "))):
            current = line.removeprefix("ENTRY ").split(" ", 1)[0].lstrip("%")
            computations[current] = []
            entry = current if line.startswith("ENTRY ") else entry
        elif current and (one := _instruction(line)):
            computations[current].append(one)
    return computations, entry


def _instruction(line: str) -> Instruction | None:
    name, equals, rest = line.strip().removeprefix("ROOT ").partition(" = ")
    if not equals:
        return None
    kind_at = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
    described = rest[kind_at:].strip()
    opening = described.find("(")
    closing = _closing(described, opening)
    return Instruction(
        name=name.lstrip("%"),
        type=rest[:kind_at],
        kind=described[:opening],
        arguments=described[opening + 1 : closing - 1],
        rest=described[closing:],
    )


def _closing(text: str, opening: int) -> int:
    """The place after the parenthesis that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if not depth:
            return place + 1
    return len(text)


def size_of(kind: str, *, everywhere: bool = False) -> float:
    """The bytes of a type in main memory, or `everywhere`, also in the caches of a TPU.

    >>> size_of("(f32[8,10]{1,0:T(8,128)}, pred[], bf16[4]{0:T(8)S(1)})")
    321
    """
    total = 0
    for name, shape, layout in _ARRAY.findall(kind):
        if everywhere or not _OUTSIDE_MEMORY.search(layout):
            bits = re.search(r"\d+", name)
            each = BYTES[name] if name in BYTES else int(bits[0]) / 8 if bits else 0
            total += math.ceil(math.prod(int(n) for n in shape.split(",") if n) * each)
    return total


def _of_instruction(
    one: Instruction,
    types: dict[str, str],
    computations: dict[str, list[Instruction]],
    total: Callable[[str], Traffic],
) -> Traffic:
    """The traffic of an instruction, with that of the computations it calls."""
    if one.kind in FREE or one.kind.endswith("-done"):
        return NOTHING
    if one.kind == "while":
        return total(one.attribute("body")).times(passes_of(one, computations[one.attribute("condition")]))
    if one.kind == "conditional":
        return max(map(total, one.called), key=lambda branch: branch.bytes)
    if one.kind == "call":
        return total(one.called[0])
    kind = one.kind.removesuffix("-start")
    moved = _moved(one, types, computations[one.called[0]] if one.kind == "fusion" else [])
    of_kind: dict[str, tuple[float, float]] = (
        {kind: (1, size_of(one.type, everywhere=True))} if kind in COLLECTIVES else {}
    )
    return Traffic(moved, 1, of_kind)


def passes_of(loop: Instruction, condition: list[Instruction]) -> int:
    """How often a loop runs, 1 if that is not known."""
    if stated := _PASSES.search(loop.rest):
        return int(stated[1])
    last = condition[-1]
    if last.kind != "compare" or last.attribute("direction") != "LT":
        return 1
    named = {one.name: one for one in condition}
    counter, bound = (named[name] for name in last.operands)
    counts = counter.kind == "get-tuple-element" and counter.type.startswith("s") and bound.kind == "constant"
    return int(bound.arguments) if counts else 1


def _moved(one: Instruction, types: dict[str, str], inside: list[Instruction]) -> float:
    """The bytes that an instruction reads and writes; of a fusion, `inside` is what it fuses."""
    sizes = [size_of(types.get(name, "")) for name in one.operands]
    written = size_of(one.type)
    if one.kind == "dynamic-slice":
        return 2 * written
    if one.kind == "dynamic-update-slice":
        return 2 * sizes[1]
    inner = {each.name: each for each in inside}
    for each in (each for each in inside if each.kind == "parameter"):
        place = int(each.arguments)
        parts = [_part(user, each.name, inner) for user in inside if each.name in user.operands]
        if parts and place < len(sizes):
            sizes[place] = min(sizes[place], sum(parts))
    if inside and inside[-1].kind == "dynamic-update-slice":
        written = size_of(inner[inside[-1].operands[1]].type)
    return sum(sizes) + written


def _part(user: Instruction, name: str, inner: dict[str, Instruction]) -> float:
    """The bytes that an instruction needs of an operand."""
    if user.kind == "dynamic-slice" and user.operands[0] == name:
        return size_of(user.type)
    if user.kind == "dynamic-update-slice" and user.operands[0] == name:
        return size_of(inner[user.operands[1]].type)
    return math.inf
