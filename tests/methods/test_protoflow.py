"""The prototype classifier on a flow: what it needs, what it predicts, what is refused."""

import re
from pathlib import Path

import pytest
import torch
from helpers.flows import levels, protoflow_plan, shaken
from helpers.studies import make_plan, tiny_study

from lookalike.backbones.build import make_backbone
from lookalike.backbones.flow.backbone import DenseFlowBackbone
from lookalike.contracts.classifier import Batch
from lookalike.contracts.features import Features
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.errors import LookalikeError
from lookalike.methods.protoflow.classifier import ProtoFlowClassifier
from lookalike.methods.protoflow.settings import ProtoFlowSettings
from lookalike.pipeline.fingerprint import fingerprint
from lookalike.pipeline.stage_table import Item
from lookalike.study.plan import Plan


def test_what_protoflow_needs(tmp_path: Path) -> None:
    settings = ProtoFlowSettings(method="protoflow", backbone={"name": "dense_flow_small"})
    small = make_backbone(BackboneSettings(name="small_cnn"), (1, 8, 8))
    with pytest.raises(LookalikeError, match=r"protoflow needs an invertible network; write backbone: \{name: dense_"):
        ProtoFlowClassifier(settings, small, 10)
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    assert isinstance(flow, DenseFlowBackbone)
    torch.save({"model": {"x": 1}}, tmp_path / "flow.pt")
    with pytest.raises(LookalikeError, match=r"flow.pt"):
        make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    published = {f"module.{name}": value for name, value in shaken(flow.flow).state_dict().items()}
    torch.save(published, tmp_path / "flow.pt")
    again = make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    assert all(torch.equal(value, again.flow.state_dict()[name]) for name, value in flow.flow.state_dict().items())
    model = ProtoFlowClassifier(settings, flow, 10).eval()
    features = model.embed(levels(2, 1, 8, 8).float())
    assert model.predict(Features.unlabelled(features), "posterior").log_probs.shape == (2, 10)


def test_more_draws_average_densities_and_the_original_averages_logarithms(tiny: Plan) -> None:
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    flow = shaken(flow)
    entry = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}, "prototypes": {"components": 3}}
    images = levels(4, 1, 8, 8).float()
    for compat in (None, "upstream"):
        model = ProtoFlowClassifier(ProtoFlowSettings(**entry, inference={"samples": 3}, compat=compat), flow, 5).eval()
        with torch.no_grad():
            model.prototypes.mean.normal_(generator=torch.Generator().manual_seed(1))
            features = model.embed(images)
            posterior = model.predict(Features.unlabelled(features), "posterior").log_probs.double().exp()
        for row in range(4):
            classes = []
            for part in features[row].view(3, -1).double():
                of_classes = model.double().prototypes.weighted(part[None, :-1])[0].logsumexp(1) + part[-1]
                classes.append(of_classes)
            model.float()
            mean = torch.stack(classes).mean(0) if compat else torch.stack(classes).logsumexp(0)
            torch.testing.assert_close(posterior[row], mean.softmax(0).detach(), atol=1e-4, rtol=1e-3)


def test_what_is_refused_before_anything_runs(tmp_path: Path) -> None:
    small = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}}
    for changed, message in (
        ({"training": {"precision": "16-mixed"}}, "16-mixed scales losses, which flows do not bear; write bf16-mixed"),
        ({"training": None}, "training is left out, but nothing else makes prototypes"),
        ({"prototypes": {"init": "weights"}}, "prototypes.init: weights needs backbone: {name: ..., weights: FILE}"),
        ({"losses": {"base_prototypes": True}}, "base_prototypes needs base: true"),
        ({"losses": {"base": True}, "trains": "prototypes"}, "which trains: prototypes leaves as it is"),
        ({"backbone_from": "flow"}, "give either backbone: {name: dense_flow_small} or backbone_from: MODEL"),
    ):
        with pytest.raises(LookalikeError, match=re.escape(message)):
            make_plan(tiny_study(models={"protoflow": {**small, **changed}}), tmp_path)
    outliers = {"source": "critters", "ood_for": "digits"}
    for datasets, sets, message in (
        ({"digits": {}, "odd": {**outliers, "evaluated_with": "digits"}}, ["test"], "either evaluated_with or ood_for"),
        ({"digits": {}, "odd": outliers}, ["train"], "compares with test images, which evaluation_sets lacks"),
        (
            {"digits": {}, "odd": {**outliers, "ood_for": "digit"}},
            ["test"],
            "datasets.odd.ood_for is 'digit'",
        ),
    ):
        with pytest.raises(LookalikeError, match=re.escape(message)):
            make_plan(tiny_study(datasets=datasets, evaluation_sets=sets), tmp_path)
    with pytest.raises(LookalikeError, match="no model classifies anything"):
        make_plan(tiny_study(models={"flow": {"method": "dense_flow"}}), tmp_path)
    with pytest.raises(LookalikeError, match="baseline is 'flow', which classifies nothing"):
        make_plan(
            tiny_study(models={"flow": {"method": "dense_flow"}, "fc": {"method": "fc"}}, baseline="flow"), tmp_path
        )


def test_a_temperature_embeds_nothing_anew(tiny: Plan) -> None:
    warm, cold = (protoflow_plan(tiny, inference={"temperature": value}) for value in (1.0, 9.0))
    item = Item(warm.run("digits/protoflow/100/seed0"), evaluation_set="test")
    assert fingerprint(warm, "embed", item) == fingerprint(cold, "embed", item)
    assert fingerprint(warm, "evaluate", item) != fingerprint(cold, "evaluate", item)


def test_no_class_is_left_without_a_prototype(tiny: Plan) -> None:
    entry = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}}
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    model = ProtoFlowClassifier(ProtoFlowSettings(**entry, prototypes={"components": 1, "dropout": 0.9}), flow, 10)
    images, labels = levels(16, 1, 8, 8).float(), torch.arange(16) % 10
    generators = {"noise": torch.Generator().manual_seed(0)}
    loss, _ = model.training_loss(Batch(images, labels, labels, None, generators))
    assert float(loss.detach()) < 1e4
