"""Which runs go together into one job of a cluster."""

from helpers.studies import changed_plan

from lookalike.pipeline.job_groups import forget_broken, job_groups
from lookalike.study.plan import Plan


def test_groups_hold_every_run_once_and_what_it_needs(tiny: Plan) -> None:
    plan = changed_plan(tiny, seeds=list(range(7)), train_sizes=[50, 100], runs_per_job=5)
    groups = list(job_groups(plan))
    assert sorted(run.id for group in groups for run in group.runs) == sorted(run.id for run in plan.runs())
    assert len({group.name for group in groups}) == len(groups)
    for group in groups:
        assert len(group.runs) <= 5
        assert all(giver is None or giver in group.runs for giver in map(plan.giver_of, group.runs))
    # More seeds leave the groups that were full as they are.
    larger = changed_plan(tiny, seeds=list(range(9)), train_sizes=[50, 100], runs_per_job=5)
    more = {group.name: group.runs for group in job_groups(larger)}
    assert all([run.id for run in more[g.name]] == [run.id for run in g.runs] for g in groups if len(g.runs) >= 4)
    assert list(job_groups(tiny)) == []


def test_the_record_of_a_group_without_its_files_goes(tiny: Plan) -> None:
    plan = changed_plan(tiny, runs_per_job=10)
    for group in job_groups(plan):
        group.job.output.parent.mkdir(exist_ok=True)
        group.job.output.write_text("{}")
        for target in group.targets():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    forget_broken(plan)
    first, *others = job_groups(plan)
    first.targets()[0].unlink()
    forget_broken(plan)
    assert not first.job.output.exists()
    assert all(group.job.output.exists() for group in others)
