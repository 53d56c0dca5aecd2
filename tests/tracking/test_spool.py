"""Jobs of a cluster leave their metrics in files, which are imported once."""

import pytest
from helpers.studies import run_stage

from lookalike.study.plan import Plan
from lookalike.tracking.live import LiveTracker
from lookalike.tracking.mlflow_mirror import Mirror
from lookalike.tracking.spool import must_spool, read_spool


def test_jobs_of_a_cluster_spool_their_metrics(
    tiny: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A running training leaves a file; importing it again doubles nothing; a killed one is marked, then finished."""
    run = tiny.run("digits/fc/100/seed0")
    monkeypatch.setattr("lookalike.tracking.live.FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("lookalike.core.processes._live_slurm_jobs", lambda: alive)
    alive = frozenset({"12"})
    monkeypatch.setattr("lookalike.tracking.live.this_process", lambda: "node9:5@12")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert must_spool(tiny)
    tracker = LiveTracker(tiny, run)

    def stop(progress: object) -> None:
        tracker(progress)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(tiny, "train", run, on_epoch=stop)
    spooled = read_spool(run)
    assert spooled is not None
    assert len(spooled.history) == 1
    monkeypatch.delenv("SLURM_JOB_ID")
    mirror = Mirror(tiny)

    def children() -> list[tuple[str, int]]:
        runs = mirror._search("tags.`lookalike.kind` = 'run'")
        history = [mirror.client.get_metric_history(child.info.run_id, "train/loss") for child in runs]
        return [(child.info.status, len(points)) for child, points in zip(runs, history, strict=True)]

    for _ in range(2):
        assert mirror.sync()["running"] == 1
        assert children() == [("RUNNING", 1)]
    alive = frozenset()
    assert mirror.sync()["killed"] == 1
    assert children() == [("KILLED", 1)]
    run_stage(tiny, "train", run)
    assert read_spool(run) is None
    assert mirror.sync()["mirrored"] == 1
    statuses = sorted(children())
    assert ("FINISHED", 2) in statuses
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////shared/mlflow.db")
    LiveTracker(tiny, run)
    assert "names an SQLite file, which loses data when the jobs of a cluster share it" in caplog.text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not must_spool(tiny)
