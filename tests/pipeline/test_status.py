"""How the state of a job is told, by its log."""

from pathlib import Path

from lookalike.core.errors import LookalikeError
from lookalike.core.processes import this_process
from lookalike.pipeline.job_log import LastAttempt, read_job_log
from lookalike.pipeline.stage_runner import StageRunner, kept_log
from lookalike.pipeline.status import failures
from lookalike.study.plan import Plan


def test_a_log_tells_what_became_of_its_job(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "train.log"
    assert read_job_log(log) is None
    runner = StageRunner("train")

    def fail() -> None:
        raise LookalikeError("two\nlines")

    runner.do("one", log, fail)
    assert read_job_log(log) == LastAttempt("failed", "two lines", this_process())
    log.unlink()  # as Snakemake does before it starts the job again
    running = []
    runner.do("one", log, lambda: running.append(read_job_log(log)))  # type: ignore[func-returns-value]
    assert running[0].state == "running"
    assert read_job_log(log).state == "done"  # type: ignore[union-attr]
    assert log.read_text().count("started: ") == 2  # the attempt before it is still told
    with open(log, "a") as handle:
        handle.write(
            f"2026-01-01 00:00:00,000 INFO started: {this_process().rpartition(':')[0]}:999999999\nlast words\n"
        )
    attempt = read_job_log(log)
    assert attempt is not None
    assert (attempt.state, attempt.text) == ("killed", "last words")
    assert kept_log(log).samefile(log)


def test_failures_are_one_line_each(tiny: Plan) -> None:
    run = tiny.run("digits/fc/100/seed0")

    def fail() -> None:
        raise LookalikeError("no luck.")

    StageRunner("train").do(run.id, run.log("train"), fail)
    assert failures(tiny) == [f"train digits/fc/100/seed0: no luck. (log: {run.log('train')})"]
