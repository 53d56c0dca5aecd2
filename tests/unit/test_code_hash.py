"""Results go out of date with the code that makes them, and with no other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lookalike

SOURCE = Path(lookalike.__file__).parent
ASK = "from lookalike.provenance import code_hash; import sys; print(code_hash(sys.argv[1:]))"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE, tmp_path / "lookalike", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "lookalike"


def ask(copy: Path, *modules: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK, *modules],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(copy.parent)},
    )
    return done.stdout


def test_comments_docstrings_and_layout_do_not_count(copy: Path) -> None:
    before = ask(copy, "lookalike.methods.fc")
    path = copy / "methods" / "fc.py"
    text = path.read_text().replace('"""Cross entropy."""', '"""Another docstring."""')
    path.write_text("# a comment\n" + text.replace("\n\n\nclass", "\n\n\n\n# more\nclass"))
    assert ask(copy, "lookalike.methods.fc") == before


def test_code_and_imported_code_count(copy: Path) -> None:
    before = {name: ask(copy, name) for name in ("lookalike.methods.fc", "lookalike.methods.knn")}
    path = copy / "support" / "neighbours.py"
    path.write_text(path.read_text().replace("NORM_FLOOR = 1e-12", "NORM_FLOOR = 1e-11"))
    assert ask(copy, "lookalike.methods.fc") == before["lookalike.methods.fc"]
    assert ask(copy, "lookalike.methods.knn") != before["lookalike.methods.knn"]


def test_a_new_row_of_a_registry_does_not_count(copy: Path) -> None:
    modules = ("lookalike.training.train", "lookalike.methods.fc")
    before = ask(copy, *modules)
    path = copy / "methods" / "registry.py"
    path.write_text(path.read_text().replace("METHODS = {", 'METHODS = {\n    "new": "lookalike.methods.new",'))
    assert ask(copy, *modules) == before


def test_training_does_not_hang_on_drawing_tracking_or_other_methods(copy: Path) -> None:
    before = ask(copy, "lookalike.training.train", "lookalike.methods.fc")
    for name in ("reporting/figures.py", "tracking/mlflow_mirror.py", "methods/knn.py", "methods/nw/head.py"):
        path = copy / name
        path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert ask(copy, "lookalike.training.train", "lookalike.methods.fc") == before
