"""What the backbones are: sizes, pooled features, and weights files."""

import pytest
import torch

from lookalike.backbones.build import make_backbone
from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.errors import LookalikeError


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
