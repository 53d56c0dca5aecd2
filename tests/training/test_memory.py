"""Batches that do not fit in the memory of the device: halved, in parts, or named."""

import json

import pytest
import torch
from helpers.studies import changed_plan, run_stage

from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_tensors
from lookalike.methods.fc.classifier import FCClassifier
from lookalike.study.plan import Plan


def test_a_batch_that_does_not_fit_is_halved(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same batch, same gradient up to the order of sums; recorded, and kept after a resume."""
    models = {"fc": {"method": "fc", "training": {"epochs": 2, "batch_size": 32, "lr": 0.01}}}
    plan = changed_plan(tiny, models=models)
    run = plan.run("digits/fc/100/seed0")
    steps: list[int] = []
    seen: list[list[float]] = []
    loss = FCClassifier.training_loss

    def limited(self: FCClassifier, batch: object) -> object:
        images = batch.images  # type: ignore[attr-defined]
        if steps == []:
            seen.append([float(buffer.double().sum()) for buffer in self.buffers()])
        if len(images) > 10:
            loss(self, batch)  # type: ignore[arg-type]  # batch normalisation counts it before memory ends
            raise torch.OutOfMemoryError("CUDA out of memory")
        steps.append(len(images))
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    def unlimited(self: FCClassifier, batch: object) -> object:
        self.eval()
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(FCClassifier, "training_loss", unlimited)
    run_stage(plan, "train", run)
    expected = run.history.read_text().splitlines()[1:]
    assert json.loads(run.record.read_text())["micro_batch"] == 32
    monkeypatch.setattr(FCClassifier, "training_loss", limited)
    run_stage(plan, "train", run)
    halved = run.history.read_text().splitlines()[1:]
    assert json.loads(run.record.read_text())["micro_batch"] == 8
    assert len(seen) == 3  # with 32, with 16 and with 8 images
    assert seen[0] == seen[1] == seen[2]  # what the failed passes did to running averages is undone
    assert steps == [8, 8, 8, 8] * 3 + [4] + [8, 8, 8, 8] * 3 + [4]
    for row, other in zip(expected, halved, strict=True):
        assert [float(x) for x in row.split(",")] == pytest.approx([float(x) for x in other.split(",")], rel=1e-4)


def test_a_batch_in_parts(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many images at once as the study says; the same batch, the same gradient up to the order of sums."""
    loss, parts = FCClassifier.training_loss, []

    def watched(self: FCClassifier, batch: object) -> object:
        parts.append(len(batch.images))  # type: ignore[attr-defined]
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(FCClassifier, "training_loss", watched)
    weights = []
    for micro_batch in (None, 12):
        training = {"epochs": 1, "batch_size": 50, "lr": 0.01, "optimizer": "adamax", "micro_batch": micro_batch}
        plan = changed_plan(tiny, models={"fc": {"method": "fc", "training": training}})
        run = plan.run("digits/fc/100/seed0")
        run_stage(plan, "train", run)
        weights.append(read_tensors(run.weights))
    assert parts == [50, 50] + [12, 12, 12, 12, 2] * 2
    assert json.loads(run.record.read_text())["micro_batch"] == 12
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-3, rtol=1e-3)


def test_one_image_that_does_not_fit_is_named(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: FCClassifier, batch: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FCClassifier, "training_loss", never)
    with pytest.raises(LookalikeError, match="does not fit in the memory of cpu even with one image at a time"):
        run_stage(tiny, "train", tiny.run("digits/fc/100/seed0"))
