"""The plan: read as it was written, and seeds of what may share them."""

import json
from pathlib import Path

import pytest

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.fingerprint import fingerprint
from lookalike.pipeline.stage_table import Item
from lookalike.study.plan import Plan
from lookalike.study.read import read_study

ROOT = Path(__file__).parents[2]
STUDIES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "workflow/studies").glob("*.yaml"))]


def test_plan_round_trip(tiny: Plan) -> None:
    again = Plan.read(tiny.path)
    assert again == tiny
    stamp = tiny.path.stat().st_mtime_ns
    again.write()
    assert tiny.path.stat().st_mtime_ns == stamp
    tiny.path.write_text(json.dumps({**tiny.as_json(), "plan_version": 9}))
    with pytest.raises(LookalikeError, match="has plan version 9, this lookalike writes 7"):
        Plan.read(tiny.path)
    with pytest.raises(LookalikeError, match="has no run 'x'"):
        tiny.run("x")


def test_seeds_differ_by_purpose_and_run_and_subsets_by_seed_only(tiny: Plan) -> None:
    fc, nw, knn = tiny.runs()
    seeds = {run.model: tiny.seeds_of(run) for run in (fc, nw, knn)}
    assert seeds["fc"].draw == seeds["nw"].draw == seeds["knn"].draw
    assert seeds["fc"].of_run("weights") != seeds["nw"].of_run("weights")
    assert seeds["fc"].of_run("weights") != seeds["fc"].of_run("order")
    assert tiny.giver_of(knn) == fc


@pytest.mark.parametrize("name", ["config.yaml", *STUDIES])
def test_a_study_and_its_plan_have_the_same_fingerprints(name: str, tmp_path: Path) -> None:
    """A command on the YAML works on what the workflow left, whose jobs read plan.json."""
    plan = Plan.of(read_study(ROOT / name), tmp_path)
    plan.write()
    again = Plan.read(plan.path)
    runs = {run.model: run for run in plan.runs()}.values()  # sizes and seeds share their model's settings
    for run in runs:
        for stage in ("train", "embed", "evaluate", "explain"):
            assert fingerprint(plan, stage, Item(run)) == fingerprint(again, stage, Item(run)), (run.id, stage)
