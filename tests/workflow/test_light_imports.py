"""What only looks at a study imports neither torch, pandas nor mlflow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.checkout import STUDY, Checkout

# Snakemake's SLURM plugin imports pandas itself: what counts is whether a module of ours led to it.
GUARD = """
import builtins, sys
HEAVY = {"torch", "pandas", "mlflow"}
plain = builtins.__import__

def guarded(name, *rest, **more):
    root = name.partition(".")[0]
    if root in HEAVY and root not in sys.modules:
        frame = sys._getframe(1)
        while frame is not None:
            if "/src/lookalike/" in frame.f_code.co_filename:
                print(f"HEAVY: {root} by {frame.f_code.co_filename}", file=sys.stderr)
                break
            frame = frame.f_back
    return plain(name, *rest, **more)

builtins.__import__ = guarded
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    copy = Checkout(tmp_path_factory.mktemp("checkout"))
    copy.write(STUDY)
    (copy.folder / "guard").mkdir()
    (copy.folder / "guard" / "sitecustomize.py").write_text(GUARD)
    return copy


def guarded(checkout: Checkout, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(checkout.folder / "guard"), str(checkout.source)])
    environment = {**os.environ, "PYTHONPATH": path, "LOOKALIKE_SERVER": "0"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=checkout.folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "command",
    [
        ("snakemake", "-n", "--config", "study=study.yaml"),
        ("lookalike", "plan", "study.yaml"),
        ("lookalike", "status", "study.yaml"),
        ("lookalike", "data", "list"),
        ("lookalike", "schema"),
        ("lookalike", "--help"),
    ],
    ids=" ".join,
)
def test_looking_at_a_study_is_light(checkout: Checkout, command: tuple[str, ...]) -> None:
    done = guarded(checkout, *command)
    assert done.returncode == 0, done.stderr
    assert "HEAVY" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_sizes": "many"}, "train_sizes"),
        ({"models": {"nw": {"method": "nw", "kernel": "cosin"}}}, "kernel: cosine"),
        ({"models": {"knn": {"method": "knn", "backbone_from": "fc"}}}, "backbone_from"),
        ({"resources": {"trian": {"gpu": 1}}}, "resources"),
        ({"sizes": [60]}, "train_sizes"),
        ({"published": ["nothing"]}, "published"),
        ({"datasets": ["digit"]}, "digits"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_messages_of_mistakes_are_light(checkout: Checkout, changes: dict, message: str, tmp_path: Path) -> None:
    wrong = {**STUDY, **changes}
    (checkout.folder / "wrong.yaml").write_text(yaml.safe_dump(wrong, sort_keys=False))
    done = guarded(checkout, "lookalike", "plan", "wrong.yaml")
    assert done.returncode == 1
    assert done.stderr.startswith("error: wrong.yaml"), done.stderr
    assert message in done.stderr
    assert "HEAVY" not in done.stderr


def test_the_guard_notices(checkout: Checkout) -> None:
    done = guarded(checkout, "lookalike.training.schedules")
    assert "HEAVY" not in done.stderr
    done = guarded(checkout, "lookalike.training.loop")
    assert "HEAVY: torch by" in done.stderr
