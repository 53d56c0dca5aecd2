"""Every study that ships, in small, by the real Snakemake: no study file can rot."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.jobs import list_jobs
from lookalike.pipeline.smoke import CLASSES, OTHERS, TRAIN, make_smoke
from lookalike.study.plan import Plan
from lookalike.study.read import read_study

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / "workflow/studies").glob("*.yaml"))


@pytest.mark.long
@pytest.mark.parametrize("name", STUDIES)
def test_study_in_small(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = tmp_path / "study.yaml"
    text = Path(f"workflow/studies/{name}.yaml").read_text()
    study.write_text(text + "\nruns_per_job: 2\n" * (name == "fashion_mnist"))  # groups, too, outside of the checkout
    whole = read_study(study)
    summary = make_smoke(study, tmp_path / "smoke")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--directory", str(tmp_path / "smoke")),
            *("--config", "study=study.yaml"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "Rule: prepare_data" not in done.stdout + done.stderr
    monkeypatch.chdir(tmp_path / "smoke")
    plan = Plan.read(Path("results") / whole.name / "plan.json")
    assert set(plan.models) == set(whole.models)
    assert plan.published == whole.published
    assert summary.startswith(f"{len(list(plan.runs()))} runs")
    for model, settings in plan.models.items():
        assert set(settings.modes) == set(whole.models[model].modes)
    for job in list_jobs(plan):
        for path in job.outputs if job.stage.name != "fetch_data" else []:  # made-up images are there already
            assert path.exists(), path
            assert path.stat().st_size > 50 or job.stage.name.endswith("tracking"), path
    metrics = pd.read_csv(plan.folder / "tables" / "metrics.csv")
    assert len(metrics) == len(list(plan.evaluations()))
    assert (metrics.n <= CLASSES * max(TRAIN, OTHERS)).all()


def test_own_images_are_not_drawn(tmp_path: Path) -> None:
    text = (ROOT / "workflow/studies/fashion_mnist.yaml").read_text()
    study = tmp_path / "mine.yaml"
    study.write_text(text.replace("[fashion_mnist]", "{mine: {source: image_folder, path: photos}}"))
    with pytest.raises(
        LookalikeError, match=r"datasets.mine is of your own images; run the study itself on few of them"
    ):
        make_smoke(study, tmp_path / "smoke")
    assert not (tmp_path / "smoke").exists()


def test_no_folder_but_its_own_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(LookalikeError, match="is no folder of an earlier smoke; give a new one"):
        make_smoke(Path("workflow/studies/fashion_mnist.yaml"), tmp_path)
    assert (tmp_path / "thesis.txt").exists()
