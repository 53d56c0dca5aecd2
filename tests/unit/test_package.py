"""What importing costs, and what the backbones are."""

import subprocess
import sys

import pytest
import torch

from lookalike.backbones.build import make_backbone
from lookalike.backbones.registry import BACKBONES
from lookalike.errors import LookalikeError
from lookalike.settings import BackboneSettings, TrainingSettings
from lookalike.training.schedules import learning_rate

HEAVY = ("snakemake", "mlflow", "pandas", "fastapi", "pyarrow", "sklearn", "faiss", "pydantic", "matplotlib")


def test_heads_import_without_the_pipeline() -> None:
    """In a process where the heavy packages cannot be imported at all."""
    code = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None
from lookalike import NWHead
import torch
head = NWHead(n_classes=2)
print(head(torch.zeros(1, 3), torch.eye(3)[:2], torch.tensor([0, 1])).exp().tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[[0.5, 0.5]]", done.stderr


def test_figures_do_not_wait_for_torch() -> None:
    code = "import sys, lookalike.reporting.figures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_pool_their_feature_map(name: str) -> None:
    backbone = make_backbone(BackboneSettings(name=name), (3, 32, 32)).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features, feature_map = backbone(images), backbone.feature_map(images)
    assert features.shape == (2, backbone.dim)
    assert feature_map.shape[:2] == (2, backbone.dim)
    if name != "cifar_vit":  # its features are the class token
        torch.testing.assert_close(features, feature_map.mean((2, 3)))


@pytest.mark.parametrize(("name", "parameters"), [("cifar_resnet18", 11_166_144), ("resnet18", 11_176_512)])
def test_backbones_have_the_papers_size(name: str, parameters: int) -> None:
    backbone = make_backbone(BackboneSettings(name=name), (3, 32, 32))
    assert sum(p.numel() for p in backbone.parameters()) == parameters


def test_weights_files(tmp_path) -> None:
    import torchvision
    from safetensors.torch import save_file

    whole = torchvision.models.resnet18()
    torch.save(whole.state_dict(), tmp_path / "a.pth")
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        loaded = make_backbone(BackboneSettings(name="resnet18", weights=str(tmp_path / name)), (3, 32, 32))
        assert torch.equal(loaded.network.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)
    own = {f"backbone.{name}": value for name, value in loaded.state_dict().items()}  # a run's model.safetensors
    save_file({name: value.contiguous() for name, value in own.items()}, tmp_path / "run.safetensors")
    grey = make_backbone(BackboneSettings(name="resnet18", weights=str(tmp_path / "run.safetensors")), (1, 8, 8)).eval()
    assert torch.equal(grey.network.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)
    assert grey(torch.randn(2, 1, 8, 8)).shape == (2, 512)
    with pytest.raises(LookalikeError, match="is missing"):
        make_backbone(BackboneSettings(name="resnet18", weights=str(tmp_path / "b.pth")), (3, 32, 32))
    with pytest.raises(LookalikeError, match="does not fit the backbone"):
        make_backbone(BackboneSettings(name="densenet121", weights=str(tmp_path / "a.pth")), (3, 32, 32))
    (tmp_path / "c.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:1000])
    with pytest.raises(LookalikeError, match="cannot be read"):
        make_backbone(BackboneSettings(name="resnet18", weights=str(tmp_path / "c.pth")), (3, 32, 32))


def test_schedules() -> None:
    multistep = TrainingSettings(schedule="multistep", milestones=(2, 3), lr=1.0, epochs=4)
    assert [round(learning_rate(multistep, step, 2), 9) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    cosine = TrainingSettings(schedule="cosine", lr=1.0, epochs=2, warmup_epochs=1)
    rates = [learning_rate(cosine, step, 4) for step in range(8)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
