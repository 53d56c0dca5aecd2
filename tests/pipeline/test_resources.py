"""What jobs ask of a cluster, and what a cluster has."""

from pathlib import Path

import pytest
from helpers.studies import changed_plan, make_plan, tiny_study

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.resources import job_resources, largest_job
from lookalike.pipeline.stage_table import STAGES, Item
from lookalike.study.plan import Plan


def asked(plan: Plan, stage: str, run: str, attempt: int = 1, **more: object) -> dict[str, int]:
    """What the job of a stage asks for."""
    return job_resources(plan, STAGES[stage], plan.run(run), Item(plan.run(run)), attempt, **more)  # type: ignore[arg-type]


def test_resources_double_once_and_the_study_has_the_last_word(tiny: Plan) -> None:
    plan = changed_plan(tiny, resources={"train": {"runtime": 100}, "train/nw": {"mem_mb": 9000, "gpu": 2}})
    nw, fc = "digits/nw/100/seed0", "digits/fc/100/seed0"
    capped = asked(plan, "train", nw, 4, most={"mem_mb": 12000, "runtime": 150})  # refused otherwise
    assert (capped["mem_mb"], capped["runtime"]) == (12000, 150)
    assert [asked(plan, "train", fc, attempt)["runtime"] for attempt in (1, 2, 3)] == [100, 200, 200]
    of_one, of_four = (asked(plan, "run_job_group", fc, at_once=runs)["mem_mb"] for runs in (1, 4))
    assert of_four == 4 * of_one
    assert asked(plan, "train", nw, 4) == {"mem_mb": 18000, "runtime": 200, "gpu": 2}
    assert asked(plan, "evaluate", nw)["gpu"] == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "trian",
            r"resources has 'trian'; stages of runs are .*train, .*\. Write\n  resources:\n    train: \{\.\.\.\}",
        ),
        ("train/none", r"resources has 'train/none', but there is no model 'none'\. Write\n  resources:\n    train/"),
        (
            "run_job_group/fc",
            r"resources has 'run_job_group/fc', but a job of run_job_group holds runs of several models\. "
            r"Write\n  resources:\n    run_job_group: \{",
        ),
        (
            "run_pack",
            r"has keys of an older version; .*\n  resources.run_pack is now resources.run_job_group",
        ),
    ],
)
def test_resources_of_nothing_are_named(key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LookalikeError, match=rf"tiny.yaml:? {message}"):
        make_plan(tiny_study(resources={key: {"runtime": 5}}), tmp_path)


def test_a_training_on_several_devices_asks_for_as_many_gpus(tiny: Plan) -> None:
    training = {"epochs": 1, "devices": 3}
    plan = changed_plan(tiny, models={"fc": {"method": "fc", "training": training}})
    assert asked(plan, "train", "digits/fc/100/seed0")["gpu"] == 3
    assert asked(plan, "embed", "digits/fc/100/seed0")["gpu"] == 1
    plan = changed_plan(tiny, models={"fc": {"method": "fc", "training": training}}, resources={"train/fc": {"gpu": 1}})
    assert asked(plan, "train", "digits/fc/100/seed0")["gpu"] == 1


def test_explaining_asks_for_a_gpu_where_it_needs_the_network(tiny: Plan) -> None:
    models = {
        "wrap": {"method": "memory_wrap"},
        "plain": {"method": "memory_wrap", "inference": {"attribution": None}},
    }
    plan = changed_plan(tiny, models=models)
    wrap, plain = (asked(plan, "explain", f"digits/{model}/100/seed0") for model in models)
    assert (wrap["gpu"], wrap["runtime"]) == (1, 240)
    assert (plain["gpu"], plain["runtime"]) == (0, 60)


def test_limits_of_a_cluster_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinfo = tmp_path / "sinfo"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cases = {
        "8000|1:00:00\\n16000+|2-12:30:00": {"mem_mb": 16000, "runtime": 3630},
        "8000|30:00": {"mem_mb": 8000, "runtime": 30},
        "8000|infinite": {"mem_mb": 8000},
        "": {},
    }
    for text, expected in cases.items():
        sinfo.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        sinfo.chmod(0o755)
        assert largest_job() == expected
