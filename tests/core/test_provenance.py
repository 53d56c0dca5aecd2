"""Results go out of date with the code that makes them, and with no other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lookalike
from lookalike.backbones.registry import BACKBONES
from lookalike.core.provenance import DECLARATIONS, is_declaration
from lookalike.methods.registry import METHODS
from lookalike.pipeline.stage_table import STAGES

SOURCE = Path(lookalike.__file__).parent
ASK = "from lookalike.core.provenance import code_hash; import sys; print(code_hash(sys.argv[1:]))"
FC, KNN, NW = (f"lookalike.methods.{name}.classifier" for name in ("fc", "knn", "nw"))
TRAINING = ("lookalike.stages.train", FC)
EVERYTHING = (
    *(row.module for row in STAGES.values()),
    *(method.classifier_module for method in METHODS.values()),
    *(row.module for row in BACKBONES.values()),
)


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
        env={"PYTHONPATH": str(copy.parent), "TMPDIR": str(copy.parent)},  # what it stores is the test's own
    )
    return done.stdout


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Cross entropy."""', '"""Another docstring."""'),
        ('"""Linear layer and log-softmax."""', '"""Another docstring,\n\n    of a class.\n    """'),
        ('"""A linear layer and log-softmax on pooled features."""', "# A comment in place of the module's docstring"),
        ("-> Tensor:\n        return", '-> Tensor:\n        """A docstring more."""\n        return'),
        ("return Prediction(", "# A comment\n        return Prediction(  # and another\n            "),
        ("\n\n\nclass", "\n\n\n\n\n\nclass"),
    ],
    ids=["docstring", "of a class", "of a module", "a docstring more", "comments", "blank lines"],
)
def test_comments_docstrings_and_layout_do_not_count(copy: Path, old: str, new: str) -> None:
    before = ask(copy, FC)
    edit(copy / "methods" / "fc" / "classifier.py", old, new)
    assert ask(copy, FC) == before


def test_code_counts(copy: Path) -> None:
    before = ask(copy, FC)
    edit(copy / "methods" / "fc" / "classifier.py", "dim=1", "dim=-1")
    assert ask(copy, FC) != before


def test_imported_code_counts(copy: Path) -> None:
    before = {name: ask(copy, name) for name in (FC, KNN, NW)}
    edit(copy / "distances" / "pairwise.py", "NORM_FLOOR = 1e-12", "NORM_FLOOR = 1e-11")  # of the same length
    assert ask(copy, FC) == before[FC]
    assert ask(copy, NW) != before[NW]
    edit(copy / "distances" / "neighbours.py", "HNSW_CONSTRUCTION = 16, 100", "HNSW_CONSTRUCTION = 16, 101")
    assert ask(copy, FC) == before[FC]
    assert ask(copy, KNN) != before[KNN]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("from lookalike.second import VALUE", True),
        ("from lookalike import second", True),
        ("import lookalike.second", True),
        ("def late():\n    from lookalike.second import VALUE\n    return VALUE", True),
        ("from lookalike.third import VALUE", True),  # which imports the second one
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lookalike.second import VALUE", False),
        ("import typing\nif typing.TYPE_CHECKING:\n    from lookalike.second import VALUE", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import lookalike.second", True),
    ],
)
def test_what_is_imported_for_types_alone_does_not_count(copy: Path, text: str, counts: bool) -> None:
    (copy / "first.py").write_text(text)
    (copy / "second.py").write_text("VALUE = 1")
    (copy / "third.py").write_text("from lookalike.second import VALUE")
    before = ask(copy, "lookalike.first")
    (copy / "second.py").write_text("VALUE = 2")
    assert (ask(copy, "lookalike.first") != before) == counts


def test_declarations_do_not_count(copy: Path) -> None:
    """Neither registries nor the keys of a study: what they say reaches the workflow as a value."""
    files = [copy.parent / f"{name.replace('.', '/')}.py" for name in DECLARATIONS]
    files += copy.rglob("settings.py")
    assert {"methods/nw/settings.py", "contracts/settings.py", "study/settings.py", "methods/registry.py"} <= {
        str(path.relative_to(copy)) for path in files
    }
    before = ask(copy, *EVERYTHING)
    for path in files:
        path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert ask(copy, *EVERYTHING) == before
    path = copy / "data" / "prepared.py"
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert ask(copy, *EVERYTHING) != before


def test_what_declares() -> None:
    assert is_declaration("lookalike.methods.nw.settings")
    assert is_declaration("lookalike.data.registry")
    assert not is_declaration("lookalike.methods.nw.classifier")
    assert not is_declaration("lookalike.other_settings")


def test_a_new_row_of_a_registry_does_not_count(copy: Path) -> None:
    before = ask(copy, *TRAINING)
    edit(
        copy / "methods" / "registry.py",
        "METHODS = {",
        'METHODS = {\n    "new": Method("lookalike.methods.new", "New"),',
    )
    assert ask(copy, *TRAINING) == before


def test_training_does_not_hang_on_drawing_tracking_or_other_methods(copy: Path) -> None:
    before = ask(copy, *TRAINING)
    for name in (
        "reporting/figures/accuracy.py",
        "tracking/mlflow_mirror.py",
        "methods/knn/classifier.py",
        "methods/nw/head.py",
    ):
        path = copy / name
        path.write_text(path.read_text() + "\nCHANGED = 1\n")
    assert ask(copy, *TRAINING) == before


@pytest.mark.parametrize("store", ["whole", "damaged", "not ours"])
def test_what_is_stored_changes_no_hash(copy: Path, store: str) -> None:
    """The file that spares parsing anew, where it is good and where it is not."""
    before = ask(copy, *TRAINING)
    folder = copy.parent / f"lookalike-{os.getuid()}"
    (path,) = folder.glob("code-*.json")
    if store == "damaged":
        path.write_text(path.read_text()[:100])
    elif store == "not ours":
        folder.chmod(0o755)  # others may read it, so that it is not used
    assert ask(copy, *TRAINING) == before
    edit(copy / "methods" / "fc" / "classifier.py", "dim=1", "dim=0")  # the size stays
    assert ask(copy, *TRAINING) != before
    edit(copy / "methods" / "fc" / "classifier.py", "dim=0", "dim=1")
    assert ask(copy, *TRAINING) == before
