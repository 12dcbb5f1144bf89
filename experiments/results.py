"""Fills in the numbers of docs/results.md from the files that they link to.

A number is written as a link to a JSON file, whose title is the path of the number in the file:

    [98.89 ± 0.17](results/few_shot_clustering_omniglot_both.json "accuracy/both, %")

The path is the name of a metric, or keys and list indices such as "3/ratio"; a unit to convert to may follow
after a comma. The format is taken from the current text: the number of digits, a leading sign, and an
interval if there is a "±". So a new cell is written as [0.00 ± 0.00](...) and then filled in.

    python -m experiments.results
        fills in every number
    python -m experiments.results --check
        changes nothing; the exit code is 1 if a number differs from its file, or if a table has a number
        without a link; published numbers, which are in italics, need none
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
"""Text in italics."""


def filled_link(link: re.Match[str], folder: Path) -> str:
    """A link with the number of its file.

    Raises:
        LookupError: the path is not in the file, or has no interval where one is needed.
    """
    text, name, title = link.groups()
    path, _, unit = title.partition(", ")
    value = look_up(_load(folder / f"{name}.json"), path)
    mean, ci = (value["mean"], value["ci95"]) if isinstance(value, dict) else (value, None)
    first = NUMBER.search(text)
    digits = len(first[1] or "") if first else 2
    scale = UNITS[unit]
    sign = "+" if text.startswith("+") else ""
    comma = "," if abs(mean * scale) >= 1000 else ""
    number = f"{mean * scale:{sign}{comma}.{digits}f}"
    if "±" in text:
        if ci is None:
            raise LookupError(f"{name}.json has no interval at {path}")
        number += f" ± {ci * scale:.{digits}f}"
    return f'[{number}](results/{name}.json "{title}")'


def look_up(summary: Any, path: str) -> Any:
    """The metric of that name, or the value at a path of keys and list indices.

    Raises:
        LookupError: there is none.
    """
    metrics = summary.get("metrics", {}) if isinstance(summary, dict) else {}
    if path in metrics:
        return metrics[path]
    for part in path.split("/"):
        try:
            summary = summary[int(part) if isinstance(summary, list) else part]
        except (LookupError, ValueError, TypeError):
            raise LookupError(f"there is no {path}") from None
    return summary


def filled(text: str, folder: Path) -> tuple[str, list[str]]:
    """The text with every number filled in, and a message for each number that cannot be."""
    faults: list[str] = []

    def replace(link: re.Match[str]) -> str:
        try:
            return filled_link(link, folder)
        except (LookupError, OSError, ValueError, TypeError) as error:
            line = text.count("\n", 0, link.start()) + 1
            faults.append(f"line {line}: {link[2]}.json, {link[3]}: {error}")
            return link[0]

    return LINK.sub(replace, text), faults


def without_source(text: str) -> Iterator[str]:
    """A message for each decimal number in a table that is neither linked, in italics nor published."""
    header: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")[2:-1] if line.startswith("|") else []
        if not (cells and header):
            header = cells
            continue
        for name, cell in zip(header, cells, strict=False):
            rest = QUOTED.sub("", LINK.sub("", cell))
            if re.search(r"\d\.\d", rest) and "published" not in name:
                yield f"line {number}: {cell.strip()} has no file"


@cache
def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Fills in the numbers, or checks them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; report what is wrong")
    check = parser.parse_args().check
    page = DOCS / "results.md"
    text = page.read_text(encoding="utf-8")
    new_text, faults = filled(text, DOCS / "results")
    if check:
        pairs = zip(LINK.finditer(text), LINK.finditer(new_text), strict=True)
        faults += [
            f"{old[2]}.json, {old[3]}: {old[1]}, should be {new[1]}" for old, new in pairs if old[0] != new[0]
        ]
        faults += without_source(text)
    else:
        page.write_text(new_text, encoding="utf-8")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(LINK.findall(text))} numbers, {len(faults)} faults")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
