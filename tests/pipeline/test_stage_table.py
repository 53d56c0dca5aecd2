"""One row a stage: rules, jobs, commands and resources follow from the same table."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.studies import make_plan, tiny_study, whole_study
from snakemake.io import regex_from_filepattern, update_wildcard_constraints
from snakemake.iocontainers import Wildcards
from typer.main import get_command
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.core.errors import LookalikeError
from lookalike.methods.registry import METHODS
from lookalike.pipeline.jobs import Job, list_jobs, run_jobs
from lookalike.pipeline.stage_table import STAGES, Item, Stage
from lookalike.pipeline.workflow import Workflow
from lookalike.study.plan import Plan


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A study with jobs of every stage but job groups."""
    return make_plan(whole_study(), tmp_path / "results")


@pytest.fixture
def grouped(tmp_path: Path) -> Plan:
    """The same in job groups."""
    return make_plan(whole_study(runs_per_job=4), tmp_path / "results")


def every_job(plan: Plan) -> Iterator[Job]:
    """The jobs of all stages, those inside job groups too."""
    for stage in STAGES.values():
        yield from (Job(plan, stage, item) for item in stage.items(plan))


def words_of(item: Item) -> dict[str, str]:
    """The wildcards of an item."""
    words = {"mode": item.mode, "evaluation_set": item.evaluation_set, "filter": item.filter}
    if item.run is not None:
        run = item.run
        words |= {"dataset": run.dataset, "model": run.model, "size": run.size, "seed": str(run.seed)}
    if item.analysis is not None:
        words |= {"analysis": item.analysis.name, "suffix": item.analysis.suffix}
    names = ("source", "prepared", "job_group", "human_study", "table", "figure")
    return {**words, **dict.fromkeys(names, item.name)}


def outputs_of_rule(workflow: Workflow, plan: Plan, job: Job) -> dict[str, Any]:
    """The output patterns of the rule that makes a job, as the rule files ask for them."""
    trained = list(dict.fromkeys(run.model for run in plan.trained_runs()))
    if job.stage.name == "train":
        return workflow.outputs("train", trained)
    if job.stage.name != "embed":
        return workflow.outputs(job.stage.name)
    # Runs are embedded by two rules, as they train or not.
    frozen = [model for model in plan.models if model not in trained]
    if job.item.run is not None and job.item.run.model in trained:
        return workflow.outputs("embed", trained)
    return {**workflow.outputs("embed", frozen), "record": workflow.record(frozen)}


def filled(pattern: str, item: Item) -> str:
    """A pattern with the words of an item in the place of its wildcards."""
    return re.sub(r"\{(\w+)(,[^{}]*)?\}", lambda match: words_of(item)[match[1]], pattern)


def wildcards_in(pattern: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", pattern))


@pytest.mark.parametrize("study", ["plan", "grouped"])
def test_files_of_every_job_are_the_filled_patterns_of_its_rule(study: str, request: pytest.FixtureRequest) -> None:
    plan = request.getfixturevalue(study)
    workflow = Workflow(plan)
    stages = set()
    for job in every_job(plan):
        patterns = outputs_of_rule(workflow, plan, job)
        expected = job.stage.outputs(plan, job.item)
        assert patterns.keys() == expected.keys(), job.name
        for name, value in expected.items():
            given = patterns[name] if isinstance(value, list) else [patterns[name]]
            files = value if isinstance(value, list) else [value]
            assert [filled(pattern, job.item) for pattern in given] == [str(file) for file in files], job.name
        assert filled(workflow.log(job.stage.name), job.item) == str(job.log)
        assert filled(workflow.benchmark(job.stage.name), job.item) == str(job.benchmark)
        stages.add(job.stage.name)
    assert stages == set(STAGES) - ({"run_job_group"} if study == "plan" else set())


def test_log_and_benchmark_of_a_rule_have_the_wildcards_of_its_outputs(plan: Plan) -> None:
    """Snakemake asks for it."""
    workflow = Workflow(plan)
    for name in STAGES:
        outputs = workflow.outputs(name).values()
        patterns = [pattern for value in outputs for pattern in (value if isinstance(value, list) else [value])]
        wildcards = {frozenset(wildcards_in(p)) for p in (*patterns, workflow.log(name), workflow.benchmark(name))}
        assert len(wildcards) == 1, name


@pytest.mark.parametrize("study", ["plan", "grouped"])
def test_every_output_is_made_by_one_rule_and_leads_back_to_its_job(study: str, request: pytest.FixtureRequest) -> None:
    """What Snakemake does: it finds the rule by the patterns, and the rule finds the item by the wildcards."""
    plan = request.getfixturevalue(study)
    workflow = Workflow(plan)
    rules: list[tuple[str, str, re.Pattern[str]]] = []
    for job in every_job(plan):
        for name, value in outputs_of_rule(workflow, plan, job).items():
            for pattern in value if isinstance(value, list) else [value]:
                local = {"evaluation_set": workflow.later_sets()} if job.stage.name == "embed_queries" else {}
                limited = update_wildcard_constraints(pattern, local, workflow.wildcard_constraints())
                rule = (job.stage.name, f"{name} {pattern}", re.compile(regex_from_filepattern(limited)))
                rules += [rule] if rule not in rules else []
    for job in every_job(plan):
        for file in job.outputs:
            matches = [(stage, match) for stage, _, rule in rules if (match := rule.match(str(file)))]
            assert [stage for stage, _ in matches] == [job.stage.name], file
            wildcards = Wildcards(fromdict=matches[0][1].groupdict())
            assert workflow.item(job.stage.name, wildcards) == job.item, file


def test_jobs_of_a_study_cover_every_stage(plan: Plan, grouped: Plan) -> None:
    """Job groups stand for the jobs of their runs."""
    of_runs = {stage.name for stage in STAGES.values() if stage.is_of_runs}
    assert {job.stage.name for job in list_jobs(plan)} == set(STAGES) - {"run_job_group"}
    assert {job.stage.name for job in list_jobs(grouped)} == set(STAGES) - of_runs
    assert {job.stage.name for job in run_jobs(plan)} == {job.stage.name for job in run_jobs(grouped)} == of_runs
    names = [job.name for job in list_jobs(plan)]
    assert len(set(names)) == len(names)
    for jobs in (every_job(plan), every_job(grouped)):
        files = [file for job in jobs for file in (*job.outputs, job.log, job.benchmark)]
        assert len(set(files)) == len(files)


# The command line ----------------------------------------------------------------------------------

OTHER_VERBS = {"plan", "status", "data", "bundle", "unbundle", "make-smoke", "migrate", "schema", "reference", "check"}


def test_the_verbs_are_those_of_the_table() -> None:
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    of_methods = {method.settings_class().commands for method in METHODS.values()} - {""}
    of_stages = {stage.verb: stage.title for stage in STAGES.values() if not stage.is_of_data}
    assert len(set(verbs) - set(of_stages) - OTHER_VERBS) == len(of_methods)
    assert set(of_stages) | OTHER_VERBS <= set(verbs)
    for verb, title in of_stages.items():
        assert verbs[verb].help == f"{title}."
    of_data = {stage.verb.removeprefix("data ") for stage in STAGES.values() if stage.is_of_data}
    assert of_data | {"list", "verify"} == set(verbs["data"].commands)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    assert all(re.search(rf"\b{verb} ", shown) for verb in (*of_stages, *OTHER_VERBS))


@pytest.mark.parametrize("stage", [stage for stage in STAGES.values() if not stage.is_of_data], ids=lambda s: s.name)
def test_the_command_of_a_job_does_that_job(stage: Stage, grouped: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `lookalike status` prints to do a job again."""
    done: list[tuple[Stage, Plan, list[Item]]] = []
    monkeypatch.setattr(
        "lookalike.cli.stages._do", lambda stage, plan, items, *_, **__: done.append((stage, plan, list(items)))
    )
    grouped.write()
    for item in list(stage.items(grouped))[:3]:
        words = shlex.split(stage.command(grouped, item))
        assert words[:2] == ["lookalike", stage.verb]
        result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert done.pop() == (stage, grouped, [item])


# Resources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_a_study_may_say_resources_of_stages_of_runs_and_of_job_groups(name: str, tmp_path: Path) -> None:
    named, of_model = ({key: {"mem_mb": 1000}} for key in (name, f"{name}/nw"))
    if STAGES[name].is_of_runs:
        assert make_plan(tiny_study(resources={**named, **of_model}), tmp_path).resources.keys() == {*named, *of_model}
        return
    if name == "run_job_group":
        assert make_plan(tiny_study(resources=named), tmp_path).resources.keys() == set(named)
    else:
        message = (
            rf"tiny.yaml: resources has '{name}'; stages of runs are [a-z_, ]+\. Write\n  resources:\n    [a-z_]+: "
        )
        with pytest.raises(LookalikeError, match=message):
            make_plan(tiny_study(resources=named), tmp_path)
    with pytest.raises(LookalikeError, match=rf"resources has '{name}/nw'.*\. Write\n  resources:\n    [a-z_]+"):
        make_plan(tiny_study(resources=of_model), tmp_path)
