"""Numbers of the original implementations: every file has a check, and sizes, seeds and options come from the file."""

import warnings
from pathlib import Path

import pytest
from families import check_file, folders_without_a_check, golden_files

OURS = Path(__file__).parent / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_file" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("--golden")
        files = golden_files(folder)
        metafunc.parametrize("golden_file", files, ids=[str(path.relative_to(folder)) for path in files])


def test_there_are_golden_files(request: pytest.FixtureRequest) -> None:
    """Numbers from elsewhere may be of methods that the project has not; that is said, and ours are none of these."""
    folder: Path = request.config.getoption("--golden")
    assert golden_files(folder)
    unknown = folders_without_a_check(folder)
    assert not unknown or folder.resolve() != OURS.resolve(), unknown
    if unknown:
        warnings.warn(f"no method of the project computes {', '.join(unknown)}: not compared", stacklevel=1)


def test_golden_file(golden_file: Path) -> None:
    left = check_file(golden_file)
    # A folder from elsewhere may hold more than its README says.
    assert not left or not golden_file.is_relative_to(OURS), f"arrays that nothing is compared with: {left}"
