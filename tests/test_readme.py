"""The README stays true: its example runs, and its commands exist."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_is_short(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= 15
    namespace = {}
    exec(example, namespace)
    printed = capsys.readouterr().out
    assert re.search(r"accuracy 0\.\d+ \+- 0\.\d+ \(95 %, 100 tasks\)", printed)
    assert namespace["labels"].log_probs.shape == (99, 3)


def test_its_commands_are_targets_and_its_files_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = re.findall(r"^    make (\w+)", README, re.MULTILINE)
    assert commands == ["demo", "test"]
    assert set(commands) <= set(targets)
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
