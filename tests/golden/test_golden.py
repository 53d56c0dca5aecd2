"""Numbers of the original implementations. Every file must be recognised; sizes and options come from the file."""

import importlib
from pathlib import Path

import numpy as np
import pytest

METHODS = {
    "nw_head": "families_nw_head",
    "chm_corr": "families_chm_corr",
    "emd_corr": "families_emd_corr",
    "memory_wrap": "families_memory_wrap",
    "protoflow": "families_protoflow",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_file" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("--golden")
        files = sorted(folder.glob("*/*.npz"))
        metafunc.parametrize("golden_file", files, ids=[str(f.relative_to(folder)) for f in files])


def test_there_are_golden_files(request: pytest.FixtureRequest) -> None:
    assert list(request.config.getoption("--golden").glob("*/*.npz"))


def test_golden_file(golden_file: Path) -> None:
    method = golden_file.parent.name
    assert method in METHODS, f"no golden tests for a method {method!r}"
    module = importlib.import_module(METHODS[method])
    with np.load(golden_file, allow_pickle=False) as archive:
        content = dict(archive)
    if hasattr(module, "complete"):  # some files share an array that only one of them holds
        module.complete(golden_file, content)
    families = module.FAMILIES
    for prefix, needed, check in families:
        if golden_file.stem.startswith(prefix):
            missing = [key for key in needed if key not in content]
            assert not missing, f"{golden_file.name} lacks {missing}"
            check(golden_file.stem, content)
            return
    pytest.fail(f"{golden_file.name} belongs to no family of {method}: {', '.join(prefix for prefix, *_ in families)}")
