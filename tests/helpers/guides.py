"""The how-to pages as a reader follows them: their files are written into a copy of the project."""

import re
from pathlib import Path

from helpers.checkout import ROOT, Checkout

STEP = re.compile(
    r"(?P<verb>Create|Append to|Add to the table of|In) `(?P<path>[^`]+)`(?:, before `(?P<before>[^`]+)`)?:\n\n"
    r"```python\n(?P<code>.*?)```",
    re.DOTALL,
)


def follow(page: str, checkout: Checkout, changes: tuple[tuple[str, str], ...] = ()) -> list[str]:
    """Do what a page says, with some of its words changed.

    Returns:
        The files that were written, those of the package's tables of names included.
    """
    text = (ROOT / "docs" / "how-to" / page).read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    checkout.copy_source()
    steps = list(STEP.finditer(text))
    assert steps, page
    for step in steps:
        _write(checkout.folder / step["path"], step)
    return [step["path"] for step in steps]


def _write(path: Path, step: re.Match[str]) -> None:
    code = step["code"]
    if step["verb"] == "Create":
        assert not path.exists(), path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return
    text = path.read_text()
    if step["verb"] == "Append to":
        path.write_text(f"{text}\n\n{code}")
    elif step["verb"] == "Add to the table of":
        table = list(re.finditer(r"^[A-Z_]+ = \{\n", text, re.MULTILINE))[-1]
        end = text.index("\n}\n", table.end()) + 1
        path.write_text(text[:end] + code + text[end:])
    else:
        place = text.index(f"\n{step['before']}") + 1
        path.write_text(text[:place] + code + text[place:])
