"""Fixtures that prepare the miniature archives of `layouts` as the workflow prepares real ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import PreparedData
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import settings_class

Prepare = Callable[..., PreparedData]
Source = Callable[[str], Path]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepares a miniature; the registry then expects as many images as it has."""
    monkeypatch.setenv("LOOKALIKE_DOWNLOADS", str(tmp_path / "downloads"))

    def run(name: str, images: dict[str, int], **options: Any) -> PreparedData:
        monkeypatch.setitem(DATA_SETS, name, replace(DATA_SETS[name], images=images))
        settings = settings_class(name).model_validate({"source": name, **options})
        folder = tmp_path / "data" / settings.prepared
        prepare_data(settings, folder)
        assert not list(folder.glob(".*"))  # neither unpacked archives nor shards in work
        return PreparedData(folder, settings)

    return run


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The folder of a data set's fetched files."""
    return lambda name: tmp_path / "downloads" / name
