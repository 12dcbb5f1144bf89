"""The numbers of docs/results.md, each filled in from the file that it links to.

A number there is a link to the JSON file it comes from, whose title names the place in it:

    [98.89 ± 0.17](results/few_shot_clustering_omniglot_both.json "accuracy/both, %")

The place is a metric, or a path of keys and places in lists, such as "3/ratio"; after a comma stands the unit
that the number is turned into. How it is written is read off the text: so many digits, a sign, an interval
where there is a "±". So a cell of a new table is written as [0.00 ± 0.00](...), and this fills it in.

    python -m experiments.results
        fills in every number
    python -m experiments.results --check
        changes nothing, and ends with exit code 1 if a number is not what its file says, or if a table
        holds a number of ours without a file: published ones are in italics
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
LINK = re.compile(r'\[([^\[\]]+)\]\(results/([\w-]+)\.json "([^"]+)"\)')
NUMBER = re.compile(r"[-+]?[\d,]*\d(?:\.(\d+))?")
UNITS = {"": 1, "%": 100, "ms": 1000, "min": 1 / 60, "KiB": 2**-10, "MiB": 2**-20}
QUOTED = re.compile(r"(?<!\*)\*(?!\*)[^*]+\*(?!\*)")
"""What stands in italics."""


def written(link: re.Match[str], folder: Path) -> str:
    """A link, its number as its file has it.

    Raises:
        LookupError: there is no such file, or no such place in it; the message says which.
    """
    text, name, title = link.groups()
    place, _, unit = title.partition(", ")
    found = looked_up(_loaded(folder / f"{name}.json"), place)
    mean, ci = (found["mean"], found["ci95"]) if isinstance(found, dict) else (found, None)
    first = NUMBER.search(text)
    digits, scale = len(first[1] or "") if first else 2, UNITS[unit]
    sign, comma = "+" if text.startswith("+") else "", "," if abs(mean * scale) >= 1000 else ""
    shown = f"{mean * scale:{sign}{comma}.{digits}f}"
    if "±" in text:
        if ci is None:
            raise LookupError(f"{name}.json has no interval at {place}")
        shown += f" ± {ci * scale:.{digits}f}"
    return f'[{shown}](results/{name}.json "{title}")'


def looked_up(summary: Any, place: str) -> Any:
    """A metric of that name, or what a path of keys and places in lists leads to.

    Raises:
        LookupError: there is none.
    """
    metrics = summary.get("metrics", {}) if isinstance(summary, dict) else {}
    if place in metrics:
        return metrics[place]
    for part in place.split("/"):
        try:
            summary = summary[int(part) if isinstance(summary, list) else part]
        except (LookupError, ValueError, TypeError):
            raise LookupError(f"there is no {place}") from None
    return summary


def filled(text: str, folder: Path) -> tuple[str, list[str]]:
    """The text with every number filled in, and a line for each that cannot be."""
    faults: list[str] = []

    def replace(link: re.Match[str]) -> str:
        try:
            return written(link, folder)
        except (LookupError, OSError, ValueError, TypeError) as error:
            line = text.count("\n", 0, link.start()) + 1
            faults.append(f"line {line}: {link[2]}.json, {link[3]}: {error}")
            return link[0]

    return LINK.sub(replace, text), faults


def without_source(text: str) -> Iterator[str]:
    """Cells of tables that hold a number with a point, neither linked, nor in italics, nor published."""
    header: list[str] = []
    for place, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")[2:-1] if line.startswith("|") else []
        if not (cells and header):
            header = cells
            continue
        for name, cell in zip(header, cells, strict=False):
            left = QUOTED.sub("", LINK.sub("", cell))
            if re.search(r"\d\.\d", left) and "published" not in name:
                yield f"line {place}: {cell.strip()} has no file"


@cache
def _loaded(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Fill in the numbers, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; tell what is wrong")
    check = parser.parse_args().check
    page = DOCS / "results.md"
    text = page.read_text(encoding="utf-8")
    found, faults = filled(text, DOCS / "results")
    if check:
        pairs = zip(LINK.finditer(text), LINK.finditer(found), strict=True)
        faults += [
            f"{old[2]}.json, {old[3]}: {old[1]}, should be {new[1]}" for old, new in pairs if old[0] != new[0]
        ]
        faults += without_source(text)
    else:
        page.write_text(found, encoding="utf-8")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(LINK.findall(text))} numbers, {len(faults)} faults")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
