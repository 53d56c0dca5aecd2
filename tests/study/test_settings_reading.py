"""Which stage reads which key: a key marked for a later stage never makes what an earlier one did out of date."""

import importlib
import inspect
import json
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pydantic import Field

from lookalike.contracts.settings import (
    ORDER,
    ReadFrom,
    Settings,
    WeightsFile,
    key_of,
    marked_keys,
    marker_of,
    settings_read_by,
    weights_files,
)
from lookalike.data.settings import KINDS, ImagenetSettings
from lookalike.methods.chm_corr.settings import CHMCorrSettings
from lookalike.methods.knn.settings import KNNSettings
from lookalike.methods.memory_wrap.settings import MemoryWrapSettings
from lookalike.methods.nw.settings import NWSettings
from lookalike.methods.registry import METHODS

Path = tuple[str, ...]
CLASSES = {name: method.settings_class() for name, method in METHODS.items()}
CLASSES |= {kind.__name__: kind for kind in KINDS}


def inner_class(annotation: Any) -> type[Settings] | None:
    """The settings class in an annotation such as `Annotated[AttributionSettings | None, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next((kind for part in inner if (kind := inner_class(part)) is not None), None)


def marks(kind: type[Settings], above: Path = ()) -> Iterator[tuple[Path, ReadFrom | None, bool]]:
    """Path and own mark of every key, those of blocks that are left out by default included; and whether it is one."""
    for name, field in kind.model_fields.items():
        inner = inner_class(field.annotation)
        yield (*above, name), marker_of(field, ReadFrom), inner is not None
        if inner is not None:
            yield from marks(inner, (*above, name))


@cache
def keys(name: str) -> dict[Path, str | None]:
    """Every key that is no block, and the first stage that reads it: as its mark says, or that of the block above."""
    first: dict[Path, str | None] = {(): "train"}
    blocks = {()}
    for path, mark, is_block in marks(CLASSES[name]):
        first[path] = first[path[:-1]] if mark is None else mark.stage
        if is_block:
            blocks.add(path)
    return {path: stage for path, stage in first.items() if path not in blocks}


def full(kind: type[Settings]) -> Settings:
    """Settings with every block, whatever fits together."""
    values = {}
    for name, field in kind.model_fields.items():
        inner = inner_class(field.annotation)
        values[name] = full(inner) if inner else None if field.is_required() else field.get_default()
    return kind.model_construct(**values)


def changed(settings: Settings, path: Path, value: Any) -> Settings:
    name, *below = path
    inner = changed(getattr(settings, name), tuple(below), value) if below else value
    return settings.model_copy(update={name: inner})


@pytest.mark.parametrize("name", CLASSES)
def test_each_key_is_read_by_its_stage_and_those_after_it(name: str) -> None:
    settings = full(CLASSES[name])
    before = {stage: settings_read_by(settings, stage) for stage in (*ORDER, "analyse")}
    for path, first in keys(name).items():
        other = changed(settings, path, "another value")
        read_by = {stage for stage in before if settings_read_by(other, stage) != before[stage]}
        expected = set(ORDER[ORDER.index(first) :]) if first in ORDER else set()
        if first in ORDER[:3]:
            expected.add("analyse")  # which reads what an evaluation reads
        assert read_by == expected, path


@pytest.mark.parametrize("name", METHODS)
def test_an_analysis_reads_its_own_block_besides(name: str) -> None:
    settings = full(CLASSES[name])
    for analysis in CLASSES[name].analyses:
        before = settings_read_by(settings, "analyse", analysis.key)
        for path, first in keys(name).items():
            is_own = bool(analysis.key) and ".".join(path).startswith(f"{analysis.key}.")
            differs = settings_read_by(changed(settings, path, "another value"), "analyse", analysis.key) != before
            assert differs == (is_own or first in ORDER[:3]), path
        if analysis.key:  # the block is marked: no other stage reads it
            assert any(".".join(path).startswith(f"{analysis.key}.") for path in keys(name))


VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b"]) | st.lists(st.integers(), max_size=2)


@limits(max_examples=100, deadline=None)
@given(data=st.data())
def test_keys_of_later_stages_change_nothing_earlier(data: st.DataObject) -> None:
    """Several keys at once, to anything."""
    name = data.draw(st.sampled_from(sorted(CLASSES)))
    stage = data.draw(st.sampled_from(ORDER))
    later = [path for path, first in keys(name).items() if first not in ORDER[: ORDER.index(stage) + 1]]
    settings = full(CLASSES[name])
    before = settings_read_by(settings, stage)
    for path in data.draw(st.lists(st.sampled_from(later), unique=True)) if later else ():
        settings = changed(settings, path, data.draw(VALUES))
    assert settings_read_by(settings, stage) == before


@pytest.mark.parametrize("name", CLASSES)
def test_a_block_that_is_read_late_holds_no_key_that_is_read_early(name: str) -> None:
    """Such a key would be lost on the stage that reads it."""
    first: dict[Path, str | None] = {(): "train"}
    place = {stage: number for number, stage in enumerate((*ORDER, "analyse", None))}
    for path, mark, _ in marks(CLASSES[name]):
        first[path] = first[path[:-1]] if mark is None else mark.stage
        assert place[first[path]] >= place[first[path[:-1]]], path


@pytest.mark.parametrize("name", METHODS)
def test_where_a_model_runs_and_which_modes_it_has_is_read_by_no_stage(name: str) -> None:
    for key in ("modes", "explain", "datasets", "train_sizes"):
        assert keys(name)[(key,)] is None
    assert keys(name)[("method",)] == "train"


@pytest.mark.parametrize(
    ("name", "key", "stage"),
    [
        ("nw", "temperature", "train"),
        ("nw", "training.epochs", "train"),
        ("nw", "inference.n_clusters", "embed"),
        ("nw", "compat", "train"),
        ("knn", "inference.k", "evaluate"),
        ("emd_corr", "inference.n_candidates", "embed"),
        ("emd_corr", "inference.k", "evaluate"),
        ("emd_corr", "inference.gallery_gb", None),
        ("emd_corr", "inference.correspondences.queries", "analyse"),
        ("chm_corr", "correspondence.weights", "train"),
        ("chm_corr", "compat", "train"),
        ("memory_wrap", "memory.size", "train"),
        ("memory_wrap", "inference.draws", "embed"),
        ("memory_wrap", "inference.attribution.steps", "explain"),
        ("memory_wrap", "inference.counterfactuals.epochs", "analyse"),
        ("protoflow", "inference.temperature", "evaluate"),
        ("protoflow", "inference.samples", "embed"),
        ("ImagenetSettings", "queries", "evaluate"),
        ("ImagenetSettings", "size", "train"),
        ("CrittersSettings", "ood_for", None),
    ],
)
def test_some_keys_by_hand(name: str, key: str, stage: str | None) -> None:
    assert keys(name)[tuple(key.split("."))] == stage


def test_what_stages_read_by_hand() -> None:
    settings = KNNSettings(method="knn", backbone_from="fc")
    trained = {"method": "knn", "backbone_from": "fc", "backbone": None}
    assert settings_read_by(settings, "train") == trained
    assert settings_read_by(settings, "embed") == {**trained, "inference": {}}
    assert settings_read_by(settings, "evaluate") == {**trained, "inference": {"k": 20}}
    assert settings_read_by(settings, "explain") == settings_read_by(settings, "evaluate")
    wrap = MemoryWrapSettings(method="memory_wrap", inference={"counterfactuals": {"epochs": 2}})
    assert settings_read_by(wrap, "evaluate")["inference"] == {"draws": 5}
    assert settings_read_by(wrap, "explain")["inference"] == {
        "draws": 5,
        "attribution": {"baseline": "white", "steps": 40},
    }
    key = "inference.counterfactuals"
    assert settings_read_by(wrap, "analyse", key) == {
        **settings_read_by(wrap, "evaluate"),
        key: {"queries": 256, "epochs": 2, "iterations": 1000},
    }
    assert settings_read_by(MemoryWrapSettings(method="memory_wrap"), "analyse", key)[key] is None


@pytest.mark.parametrize("name", CLASSES)
def test_what_stages_read_is_json(name: str) -> None:
    for stage in (*ORDER, "analyse"):
        read = settings_read_by(full(CLASSES[name]), stage)
        assert json.loads(json.dumps(read)) == read


class Inner(Settings):
    weights: Annotated[str | None, WeightsFile("module:inner")] = None
    size: int = 3


class Outer(Settings):
    first: Annotated[int, Field(ge=1), ReadFrom("embed")] = 1
    weights: Annotated[str | None, WeightsFile("module:outer")] = None
    inner: Inner = Inner()
    maybe: Annotated[Inner | None, ReadFrom("explain")] = None


def test_marked_keys_are_those_of_nested_settings_too() -> None:
    settings = Outer(weights="a.pt", maybe=Inner(weights="b.pt"))
    assert list(marked_keys(settings, WeightsFile)) == [
        (("weights",), "a.pt", WeightsFile("module:outer")),
        (("inner", "weights"), None, WeightsFile("module:inner")),
        (("maybe", "weights"), "b.pt", WeightsFile("module:inner")),
    ]
    assert [path for path, _, _ in marked_keys(Outer(), WeightsFile)] == [("weights",), ("inner", "weights")]
    assert list(marked_keys(Outer(), ReadFrom)) == [
        (("first",), 1, ReadFrom("embed")),
        (("maybe",), None, ReadFrom("explain")),
    ]
    assert key_of(settings, "maybe.weights") == "b.pt"
    assert key_of(Outer(), "maybe.weights") is None
    assert key_of(Outer(), "no.such") is None


def test_weights_files_are_those_that_are_named() -> None:
    assert weights_files(Outer(weights="a.pt", maybe=Inner(weights="b.pt"))) == {
        "weights": "a.pt",
        "maybe.weights": "b.pt",
    }
    assert weights_files(Outer()) == {}
    assert weights_files(NWSettings(method="nw")) == {}
    assert weights_files(NWSettings(method="nw", backbone={"weights": "w.pth"})) == {"backbone.weights": "w.pth"}
    chm = CHMCorrSettings(
        method="chm_corr", backbone={"weights": "w.pth"}, correspondence={"weights": "chm.pt"}, compat="upstream"
    )
    assert weights_files(chm) == {"backbone.weights": "w.pth", "correspondence.weights": "chm.pt"}
    imagenet = ImagenetSettings(source="imagenet", queries="clean", duplicate_weights="r.pth")
    assert weights_files(imagenet) == {"duplicate_weights": "r.pth"}


@pytest.mark.parametrize("name", CLASSES)
def test_random_weights_can_be_written_for_every_file(name: str) -> None:
    for path, _, mark in marked_keys(full(CLASSES[name]), WeightsFile):
        module, _, function = mark.random.partition(":")
        write = getattr(importlib.import_module(module), function)
        assert len(inspect.signature(write).parameters) == 3, path
