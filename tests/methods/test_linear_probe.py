"""A linear layer on a frozen network: the weights file's own or a trained one; BBN's files."""

from pathlib import Path

import pytest
import torch
import torchvision

from lookalike.backbones.build import make_backbone
from lookalike.contracts.classifier import Batch
from lookalike.contracts.features import Features
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.errors import LookalikeError
from lookalike.methods.linear_probe.classifier import LinearProbeClassifier
from lookalike.methods.linear_probe.settings import LinearProbeSettings


def published(folder: Path, name: str = "resnet18") -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    path = folder / f"{name}.pth"
    torch.save(network.state_dict(), path)
    return network, path


def make(path: Path, n_classes: int, **more: object) -> LinearProbeClassifier:
    backbone = {"name": "resnet18", "weights": str(path)}
    settings = LinearProbeSettings.model_validate({"method": "linear_probe", "backbone": backbone, **more})
    return LinearProbeClassifier(settings, make_backbone(settings.backbone, (3, 64, 64)), n_classes)


@torch.no_grad()
def test_the_layer_of_the_weights_file(tmp_path: Path) -> None:
    network, path = published(tmp_path)
    model = make(path, 1000).eval()
    images = torch.rand(3, 3, 64, 64)
    log_probs = model.predict(Features.unlabelled(model.embed(images)), "linear").log_probs
    assert torch.allclose(log_probs, network(images).log_softmax(1), atol=1e-5)
    with pytest.raises(LookalikeError, match=r"must hold fc.weight of 10 x 512, .* not 1000 x 512; train the layer"):
        make(path, 10)


def test_only_the_layer_learns(tmp_path: Path) -> None:
    _, path = published(tmp_path)
    model = make(path, 4, training={"optimizer": "adam", "lr": 0.001}).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.001)
    images, labels = torch.rand(8, 3, 64, 64), torch.arange(4).repeat(2)
    losses = []
    for _ in range(10):
        loss, _ = model.training_loss(Batch(images, labels, labels, None, {}))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"linear.weight", "linear.bias"}
    model.eval()
    images.requires_grad_(True)  # an adversarial patch follows the gradient through the frozen network
    model.predict(Features.unlabelled(model.embed(images)), "linear").log_probs.sum().backward()
    assert float(images.grad.abs().max()) > 0


def test_bbn_files_fit_as_they_are(tmp_path: Path) -> None:
    """Prefix, the branches' names, two classifiers that are left out, and a checkpoint around the tensors."""
    settings = BackboneSettings(name="resnet50_inat")
    torch.manual_seed(1)
    source = make_backbone(settings, (3, 64, 64))
    names = {"layer4.2.": "cb_block.", "layer4.3.": "rb_block."}
    state = {}
    for name, value in source.network.state_dict().items():
        for block, branch in names.items():
            name = branch + name.removeprefix(block) if name.startswith(block) else name
        state[f"module.backbone.{name}"] = value
    assert any(name.startswith("module.backbone.rb_block.conv3") for name in state)
    state |= {"module.classifier.weight": torch.zeros(8142, 2048), "module.classifier.bias": torch.zeros(8142)}
    path = tmp_path / "BBN.pth"
    torch.save({"state_dict": state, "epoch": 90}, path)
    loaded = make_backbone(settings.model_copy(update={"weights": str(path)}), (3, 64, 64))
    state_of_loaded = loaded.state_dict()
    assert all(torch.equal(value, state_of_loaded[name]) for name, value in source.state_dict().items())
    blocks = [len(stage) for stage in (loaded.network.layer1, loaded.network.layer2, loaded.network.layer3)]
    assert [*blocks, len(loaded.network.layer4)] == [3, 4, 6, 4]
    with torch.no_grad():
        assert loaded.eval().feature_map(torch.rand(1, 3, 64, 64)).shape == (1, 2048, 2, 2)
