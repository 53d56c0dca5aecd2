"""The docs are true: their code runs, their links lead somewhere, their commands exist, their tables are up to date."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
import typer
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.data.registry import DATA_SETS, UNPUBLISHED
from lookalike.pipeline.cost import NETWORKS
from lookalike.pipeline.reference import network_costs, render_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def verbs() -> dict[str, click.Command]:
    """Every verb, those of groups with the group's name."""
    return dict(_verbs(typer.main.get_command(app), ""))


def _verbs(command: click.Command, prefix: str) -> Iterator[tuple[str, click.Command]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{prefix}{name}", inner
        yield from _verbs(inner, f"{prefix}{name} ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_commands(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"
    known = verbs()
    for words in re.findall(r"(?:^    |`)lookalike ([a-z-]+(?: [a-z-]+)?)", text, re.MULTILINE):
        first = words.split()[0]
        assert words in known or (first in known and not hasattr(known[first], "commands")), (
            f"{page.name} names `lookalike {words}`"
        )
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {target}"


def test_every_verb_has_help() -> None:
    for verb in verbs():
        assert CliRunner().invoke(app, [*verb.split(), "--help"]).exit_code == 0


def test_generated_parts_are_up_to_date() -> None:
    """Otherwise: make reference."""
    assert NETWORKS.read_text() == network_costs()
    stale = [page.name for page in PAGES if render_page(page.read_text(), page) != page.read_text()]
    assert stale == []


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
