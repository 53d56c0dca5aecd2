import os

# One worker a core: torch would take every core in each of them. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A SLURM of this host that does not answer costs each Snakemake 9 s: its plugin asks. tests/slurm takes this back.
os.environ.setdefault("SLURM_CONF", "/dev/null")

import shutil
from pathlib import Path

import pytest
from helpers.studies import make_plan, tiny_study

from lookalike.data.prepare import prepare_data
from lookalike.data.settings import ArraySettings
from lookalike.study.plan import Plan

LONGEST = ("test_smoke.py", "workflow", "pipeline", "training", "golden")  # files and folders, by their longest file


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=Path(__file__).parent / "golden" / "data",
        help="folder with <method>/*.npz of the original implementations",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: each goes to one process, and none should be left with one at the end."""

    def place(item: pytest.Item) -> int:
        names = (item.path.name, item.path.parent.name)
        return min(LONGEST.index(name) if name in LONGEST else len(LONGEST) for name in names)

    items.sort(key=place)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared digits, to be copied into each test's results."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare_data(ArraySettings(source="digits"), folder)
    return folder


@pytest.fixture
def tiny(tmp_path: Path, digits: Path) -> Plan:
    """The plan of the tiny study below a fresh results folder."""
    plan = make_plan(tiny_study(), tmp_path / "results")
    plan.write()
    shutil.copytree(digits, plan.data_folder("digits"))
    return plan
