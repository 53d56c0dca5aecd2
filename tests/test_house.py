"""What holds in every room: faces that list their modules, names that say the thing, descriptions that stand alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "lookalike"
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
# Names that tell where a value was met and not what it is.
VAGUE = {"found", "known", "own", "one", "said", "made", "told", "asked", "here", "this"}
# Rooms with a module a row: of data sets, methods, stages, tables, figures; the declarations list them.
ROWS = {"readers", "methods", "stages", "tables", "figures"}
LOOSE = {"__init__.py", "__main__.py", "explain.py", "rerank.py", "py.typed"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_the_package_root_holds_the_public_face_alone() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == LOOSE


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_lists_its_modules(room: Path) -> None:
    face = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert face, "no docstring"
    if room.name in ROWS:
        return
    inside = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}
    inside -= {"__init__", "__main__"} | ({"settings", "classifier"} if room.parent.name == "methods" else set())
    assert not {name for name in inside if f"`{name}`" not in face}


def locals_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every local, argument and function."""
    tree = ast.parse(path.read_text())
    fields = {id(node.target) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_no_name_is_vague() -> None:
    vague = [f"{path.relative_to(PACKAGE)}:{line} {name}" for path in modules() for line, name in locals_of(path)]
    assert not [entry for entry in vague if entry.split()[1] in VAGUE]


def test_descriptions_stand_alone() -> None:
    """None begins in the middle of a sentence, as "of the set" or "how many" do."""
    clipped = []
    for path in modules():
        section, margin = False, 0
        for number, line in enumerate(path.read_text().splitlines(), 1):
            depth = len(line) - len(line.lstrip())
            if re.fullmatch(r"\s+(Args|Attributes|Raises):", line):
                section, margin = True, depth
            elif line.strip() and depth <= margin:
                section = False
            elif section and depth == margin + 4 and re.match(r"\s+[\w*, ]+: [a-z]{2}", line):
                clipped.append(f"{path.relative_to(PACKAGE)}:{number} {line.strip()}")
    assert not clipped
