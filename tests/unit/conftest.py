from pathlib import Path
from typing import Any

import pytest

from lookalike.data.prepare import prepare_data
from lookalike.data.settings import ArraySettings
from lookalike.plan import Plan
from lookalike.study import check_study


def tiny_study(**changes: Any) -> dict[str, Any]:
    """A study of seconds: 100 digits, two epochs."""
    training = {"epochs": 2, "batch_size": 32, "lr": 0.1, "crop_padding": 1}
    study = {
        "version": 1,
        "name": "tiny",
        "datasets": ["digits"],
        "sizes": [100],
        "seeds": [0],
        "explained_queries": 4,
        "models": {
            "fc": {"method": "fc", "training": training},
            "nw": {"method": "nw", "training": training, "inference": {"n_neighbors": 5}},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"voters": 5}},
        },
    }
    return {**study, **changes}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared digits, to be linked into each test's results."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare_data(ArraySettings(source="digits"), folder)
    return folder


@pytest.fixture
def tiny(tmp_path: Path, digits: Path) -> Plan:
    """The plan of the tiny study below a fresh results folder."""
    plan = check_study(tiny_study(), "tiny.yaml").plan(tmp_path / "results")
    plan.write()
    target = plan.data_folder("digits")
    target.mkdir(parents=True)
    for file in digits.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return plan
