"""The docs are true: their code runs, their links lead somewhere, their commands exist."""

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.cli import app
from lookalike.cli_data import data_app
from lookalike.data.registry import DATA_SETS, UNPUBLISHED
from lookalike.methods.base import Batch, Embedded

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_commands(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for verb in re.findall(r"(?:^    |`)lookalike (data [a-z-]+|[a-z-]+)", text, re.MULTILINE):
        assert verb in verbs(), f"{page.name} names `lookalike {verb}`"
    for target in re.findall(r"`make ([a-z]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {target}"


def verbs() -> list[str]:
    """Every verb, those of `data` with it."""
    return [
        f"{prefix}{command.name or command.callback.__name__.replace('_', '-')}"
        for prefix, commands in (("", app.registered_commands), ("data ", data_app.registered_commands))
        for command in commands
    ]


def test_every_verb_has_help() -> None:
    for verb in verbs():
        assert CliRunner().invoke(app, [*verb.split(), "--help"]).exit_code == 0


def test_the_method_of_the_guide_works() -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/how-to/own-method.md").read_text(), re.DOTALL)[1]
    module: dict = {"__name__": "ncm"}
    exec(compile(code, "own-method.md", "exec"), module)
    module["Settings"].model_rebuild(_types_namespace=module)
    settings = module["Settings"].model_validate({"method": "ncm"})
    model = module["Model"](settings, SmallCNN((1, 8, 8)), 3)
    images, labels = torch.randn(12, 1, 8, 8), torch.arange(3).repeat(4)
    loss, log_probs = model.training_loss(Batch(images, labels, torch.arange(12), None, {}))
    loss.backward()
    assert log_probs.shape == (12, 3)
    with torch.no_grad():
        features = model.embed(images)
        images = Embedded(features, labels, labels * 0, torch.arange(12))
        model.build_support(images, 0)
        model.load_support(model.support_tensors())
        assert model.predict(images, "mean").log_probs.shape == (12, 3)


def test_the_readmes_snippet_runs() -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    names = {
        "query_features": torch.randn(4, 6),
        "support_features": torch.randn(20, 6),
        "support_labels": torch.arange(20) % 10,
    }
    exec(code, names)
    assert names["log_probs"].shape == (4, 10)
    assert names["weights"].shape == (4, 20)


def test_every_data_set_is_documented() -> None:
    text = (ROOT / "docs/reference/data.md").read_text()
    assert [name for name in DATA_SETS if f"`{name}`" not in text] == []
    for name, row in DATA_SETS.items():
        assert row.reader or row.form in ("labels", "made"), name
        assert all(file.urls or row.manual for file in row.files), name
        assert all(file.checksum or file.checksum_from == UNPUBLISHED for file in row.files), name
    assert f"all {len(DATA_SETS)} data sets" in (ROOT / "README.md").read_text()
