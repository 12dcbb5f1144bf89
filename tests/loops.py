"""What the loops of a compiled program exchange between devices."""

import re

from jmeta.planning.program import COLLECTIVES, read_program, size_of


def reductions_of_loops(text, *, largest):
    """(whether there is a loop inside, all-reduces in one pass) of every loop that has some, in order.

    Loops that gather too, as seeding does a number of each device, are left out. No collective but an
    all-reduce may have a result of `largest` bytes or more, such as a gather of points.
    """
    computations, _ = read_program(text)
    everything = [line for lines in computations.values() for line in lines]
    for line in everything:
        gathers = _collective(line) not in (None, "all-reduce")
        assert not gathers or size_of(line.type, everywhere=True) < largest, line
    found = []
    for line in (line for line in everything if line.kind == "while"):
        body = computations[re.search(r"body=%?([\w.\-]+)", line.rest)[1]]
        kinds = [kind for one in body if (kind := _collective(one))]
        found += [(any(one.kind == "while" for one in body), len(kinds))] * (set(kinds) == {"all-reduce"})
    return sorted(found)


def _collective(line):
    kind = line.kind.removesuffix("-start")
    return kind if kind in COLLECTIVES else None
