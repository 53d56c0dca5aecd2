"""A study in one file: moved, opened, compared by hashes, drawn anew."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from helpers.studies import changed_plan, finish, run_stage, tiny_study

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.bundle import bundle, rebuild, unbundle
from lookalike.reporting.catalogue import figures_of, tables_of
from lookalike.stages.draw_figure import draw_figure
from lookalike.stages.draw_table import draw_table
from lookalike.study.plan import Plan
from lookalike.tracking.mlflow_mirror import Mirror

REFUSALS = {
    "content": "has tables/metrics.csv with another content than it lists",
    "more": "its list of files differ by tables/more.csv",
    "less": "its list of files differ by tables/metrics.csv",
    "none": "holds no bundle.json",
    "traversal": "holds no plan that this lookalike can use",
}


def climbing(plan: bytes) -> bytes:
    """plan.json with a name that leads out of the folder, by somebody who knows of digests."""
    assert plan.count(b'"name": "tiny"') == 1
    values = json.loads(plan.replace(b'"name": "tiny"', b'"name": "../../x"'))
    del values["digest"]
    return json.dumps(values).encode()


@pytest.fixture
def finished(tiny: Plan) -> Plan:
    """A finished study of one model, all files as the workflow leaves them."""
    plan = changed_plan(tiny, models={"nw": {**tiny_study()["models"]["nw"], "modes": ["full"]}})
    finish(plan)
    run_stage(plan, "collect_metrics")
    for name in tables_of(plan):
        draw_table(plan, name)
    for name in figures_of(plan):
        draw_figure(plan, name)
    return plan


def test_a_bundle_moves_a_study(finished: Plan, tmp_path: Path) -> None:
    file = tmp_path / "moved" / "tiny.zip"
    bundle(finished, file)
    first = file.read_bytes()
    bundle(finished, file)
    assert file.read_bytes() == first
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    assert not [name for name in names if "safetensors" in name or "checkpoint" in name or "/." in name]
    weighted = tmp_path / "weights.zip"
    bundle(finished, weighted, weights=True)
    with zipfile.ZipFile(weighted) as archive:
        assert "digits/nw/100/seed0/model.safetensors" in archive.namelist()

    opened = unbundle(file, tmp_path / "there" / "results")
    remarks = rebuild(opened)
    assert [remark.split(":")[0] for remark in remarks] == [
        f"figure {kind}-digits-nw-100-full-test stays as it was" for kind in ("weights", "influence")
    ]
    for path in (finished.folder / "tables").iterdir():
        assert (opened.folder / "tables" / path.name).read_bytes() == path.read_bytes()
    for name in ("accuracy", "reliability", "learning_curves"):
        figure = Path("figures") / f"{name}.svg"
        assert (opened.folder / figure).read_bytes() == (finished.folder / figure).read_bytes()
    mirror = Mirror(opened)
    assert mirror.sync()["mirrored"] == 1
    (child,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert str(tmp_path / "there") in child.info.artifact_uri
    downloaded = mirror.client.download_artifacts(child.info.run_id, "run.json")
    assert Path(downloaded).read_bytes() == (finished.folder / "digits/nw/100/seed0/run.json").read_bytes()
    with pytest.raises(LookalikeError, match=r"results/tiny exists; move it away"):
        unbundle(file, tmp_path / "there" / "results")


def test_a_bundle_that_was_changed_is_refused(finished: Plan, tmp_path: Path) -> None:
    file, changed = tmp_path / "tiny.zip", tmp_path / "changed.zip"
    bundle(finished, file)
    for kind in ("content", "more", "less", "none", "traversal"):
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "tables/metrics.csv":
                    content = content.replace(b"0.", b"1.", 1) if kind == "content" else content
                    if kind == "less":
                        continue
                if kind == "none" and name == "bundle.json":
                    continue
                if kind == "traversal" and name == "plan.json":
                    content = climbing(content)
                if kind == "traversal" and name == "bundle.json":
                    listed = json.loads(content)
                    plan = climbing(source.read("plan.json"))
                    listed["files"]["plan.json"]["sha256"] = hashlib.sha256(plan).hexdigest()
                    del listed["digest"]
                    content = json.dumps(listed).encode()
                target.writestr(name, content)
            if kind == "more":
                target.writestr("tables/more.csv", b"")
        with pytest.raises(LookalikeError, match=REFUSALS[kind]):
            unbundle(changed, tmp_path / "results2")
        assert not list((tmp_path / "results2").glob("*"))
    (finished.run("digits/nw/100/seed0").predictions("full", "test")).unlink()
    with pytest.raises(LookalikeError, match=r"study tiny lacks 1 of 1 predictions, .*predictions.parquet for one"):
        bundle(finished, file)
