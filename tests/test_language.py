"""The language: plain technical English, without the words of an earlier dialect."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DIALECT = re.compile(
    r"\b(foret(old|ells?|elling)|promis(e|es|ing)|worths?|judge(s|d|ment|ments)?|judging|sights?|barren|strewn"
    r"|parted|(left|leaves?) the numbers|in the dress of|hang together|for want of|(of|by) the house"
    r"|everything random follows|who judges|is told|are told|was told|what was found|of the (device|host))\b",
    re.IGNORECASE,
)
ALLOWED = {
    "jmeta/artifacts/advisors.py": "names in files of the first edition",
    "docs/migration.md": "names of the first edition",
    "jmeta/training/rows.py": "a name in states of the first edition",
}


def written():
    for folder, endings in (("jmeta", (".py", ".pyi")), ("experiments", (".py",)), ("docs", (".md",))):
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in endings)
    yield from ROOT.glob("*.md")


@pytest.mark.parametrize("path", sorted(written()), ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_field(path):
    if str(path.relative_to(ROOT)) in ALLOWED or "_build" in path.parts:
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if DIALECT.search(line)]
    assert not found, "\n".join(found)
