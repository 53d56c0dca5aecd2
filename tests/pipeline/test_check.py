"""Declarations that do not fit together are one sentence that names the misfit."""

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.analysis import Analysis
from lookalike.contracts.report import WEIGHTS, Column, RunTable
from lookalike.core.errors import LookalikeError
from lookalike.data.registry import DATA_SETS
from lookalike.methods.memory_wrap.settings import COUNTERFACTUALS, EXPLANATIONS, MemoryWrapSettings
from lookalike.methods.nw.settings import INFLUENCE, NWSettings
from lookalike.methods.registry import METHODS, Method
from lookalike.pipeline.check import check_declarations, check_examples, check_stages
from lookalike.pipeline.stage_table import STAGES


def test_all_declarations_fit() -> None:
    counts = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z ]+)", check_declarations())}
    assert counts.keys() >= {"methods", "backbones", "readers", "stages", "metrics", "public examples"}
    assert (counts["methods"], counts["backbones"], counts["stages"]) == (len(METHODS), len(BACKBONES), len(STAGES))
    assert counts["readers"] == sum(bool(row.reader) for row in DATA_SETS.values())


def fails_with(message: str, check: Callable[[], Any] = check_declarations) -> None:
    """The check stops with one sentence that begins so."""
    with pytest.raises(LookalikeError) as caught:
        check()
    assert str(caught.value).startswith(message), caught.value
    assert "\n" not in str(caught.value)


# Registries ----------------------------------------------------------------------------------------


def test_a_method_without_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its settings class is there, as the study's models need it; its classifier is not.
    monkeypatch.setattr(Method, "classifier_module", property(lambda row: f"{row.package}.clasifier"))
    fails_with("methods.registry: fc names the module lookalike.methods.fc.clasifier, which is missing (")
    monkeypatch.undo()
    monkeypatch.setitem(METHODS, "guess", Method("lookalike.methods.guess", "Guess"))
    fails_with("methods.registry: guess names the module lookalike.methods.guess.settings, which is missing (")


def test_a_method_without_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "guess", Method("lookalike.methods.knn", "Guess"))
    fails_with(
        "methods.registry: guess names GuessSettings of lookalike.methods.knn.settings, which has none; mend it."
    )


def test_a_backbone_without_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    row = BACKBONES["small_cnn"]
    monkeypatch.setitem(BACKBONES, "tiny_cnn", replace(row, module="lookalike.backbones.tiny"))
    fails_with("backbones.registry: tiny_cnn names the module lookalike.backbones.tiny, which is missing (")
    monkeypatch.setitem(BACKBONES, "tiny_cnn", replace(row, network="TinyCNN"))
    fails_with("backbones.registry: tiny_cnn names TinyCNN of lookalike.backbones.small_cnn, which has none; mend it.")
    monkeypatch.setitem(BACKBONES, "tiny_cnn", replace(row, smoke="smaller"))
    fails_with("backbones.registry: tiny_cnn names 'smaller' for a study in small; there is none.")


def test_a_data_set_without_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATA_SETS, "digits", replace(DATA_SETS["digits"], reader="lookalike.data.readers.digit"))
    fails_with("data.registry: digits names the module lookalike.data.readers.digit, which is missing (")
    monkeypatch.setitem(DATA_SETS, "digits", replace(DATA_SETS["digits"], reader="lookalike.data.crops"))
    fails_with("data.registry: digits names read of lookalike.data.crops, which has none; mend it.")


# Stages --------------------------------------------------------------------------------------------


def test_a_stage_without_outputs() -> None:
    stage = replace(STAGES["embed"], name="ponder", outputs=lambda plan, item: {})
    message = "stage ponder has no output; give its row in pipeline/stage_table.py one."
    fails_with(message, lambda: check_stages([STAGES["train"], stage]))


def test_a_stage_without_a_function() -> None:
    stage = replace(STAGES["embed"], function="lookalike.stages.embed:embedd")
    message = "stage embed names embedd of lookalike.stages.embed, which has none; mend it."
    fails_with(message, lambda: check_stages([stage]))
    stage = replace(STAGES["embed"], function="lookalike.stages.embd:embed")
    fails_with("stage embed names the module lookalike.stages.embd, which is missing (", lambda: check_stages([stage]))


# Tables, figures, analyses -------------------------------------------------------------------------


def test_two_tables_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = replace(EXPLANATIONS, name="accuracy")
    monkeypatch.setattr(MemoryWrapSettings, "tables", (*MemoryWrapSettings.tables, twin))
    fails_with(
        "two tables are called 'accuracy', in lookalike.reporting.tables.accuracy and lookalike.reporting.run_tables; "
        "rename one."
    )


def test_two_figures_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NWSettings, "figures", (WEIGHTS, replace(INFLUENCE, kind="weights")))
    fails_with("two figures are called 'weights', in lookalike.methods.drawing and lookalike.methods.nw.drawing; ")
    monkeypatch.setattr(NWSettings, "figures", (WEIGHTS, replace(INFLUENCE, kind="reliability")))
    fails_with(
        "two figures are called 'reliability', in lookalike.reporting.figures.reliability and lookalike.methods."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tables": ("counterfactual",)},
            "names the table 'counterfactual', which MemoryWrapSettings.tables lacks; there are explanations, "
            "non_representativeness, counterfactuals.",
        ),
        (
            {"figures": ("atribution",)},
            "names the figure 'atribution', which MemoryWrapSettings.figures lacks; there are attribution, memory.",
        ),
        (
            {"key": "inference.counterfactual"},
            "has the key 'inference.counterfactual', which MemoryWrapSettings lacks; mend it.",
        ),
        ({"key": "inference.counterfactuals.deep"}, "has the key 'inference.counterfactuals.deep', which Memory"),
        (
            {"compute": "lookalike.methods.memory_wrap.analyses:score"},
            "names score of lookalike.methods.memory_wrap.analyses, which has none; mend it.",
        ),
        (
            {"compute": "lookalike.methods.memory_wrap.analysis:score_counterfactuals"},
            "names the module lookalike.methods.memory_wrap.analysis, which is missing (",
        ),
    ],
)
def test_an_analysis_that_names_what_is_not_there(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis: Analysis = replace(COUNTERFACTUALS, **changes)
    monkeypatch.setattr(MemoryWrapSettings, "analyses", (analysis,))
    fails_with(f"method memory_wrap: analysis counterfactuals {message}")


def test_a_figure_that_names_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NWSettings, "figures", (replace(INFLUENCE, draw="lookalike.methods.nw.drawing:draw"),))
    fails_with("method nw: figure influence names draw of lookalike.methods.nw.drawing, which has none; mend it.")
    monkeypatch.setattr(NWSettings, "figures", (replace(INFLUENCE, key="inference.influence"),))
    fails_with("method nw: figure influence has the key 'inference.influence', which NWSettings lacks; mend it.")


def test_a_table_that_names_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(EXPLANATIONS, name="more", rows="lookalike.methods.memory_wrap.analyses:rows")
    monkeypatch.setattr(MemoryWrapSettings, "tables", (EXPLANATIONS, table))
    monkeypatch.setattr(MemoryWrapSettings, "analyses", ())
    fails_with("method memory_wrap: table more names rows of lookalike.methods.memory_wrap.analyses, which has none;")


def test_a_table_of_metrics_with_an_unknown_column(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "table strange of NWSettings has the column 'strangeness', which is no metric; declare it, or mend the"
    for columns, csv_columns in (((Column("strangeness", "Strangeness"),), ()), ((), ("accuracy", "strangeness"))):
        table = RunTable("strange", "how strange", columns, caption="", csv_columns=csv_columns)
        monkeypatch.setattr(NWSettings, "tables", (table,))
        fails_with(message)


def test_two_metrics_of_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "from lookalike.metrics.metric import metric\n\n\n@metric()\ndef accuracy(used):\n    return used.mean()\n"
    write_module(monkeypatch, tmp_path, code)
    monkeypatch.setattr(NWSettings, "metrics", ("face",))
    fails_with("two metrics are called 'accuracy'; face has one of them; rename one.")
    monkeypatch.setattr(NWSettings, "metrics", ("faces",))
    fails_with("metrics names the module faces, which is missing (")


# Examples ------------------------------------------------------------------------------------------


def write_module(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """A module `face`."""
    (folder / "face.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "face", raising=False)


def example(call: str, result: str) -> str:
    """A module with a public function and a public number, which needs no example."""
    return (
        '__all__ = ["SIZE", "double"]\nSIZE = 3\n\n\ndef double(number):\n'
        f'    """Twice a number.\n\n    >>> {call}\n    {result}\n    """\n    return 2 * number\n'
    )


def test_an_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_module(monkeypatch, tmp_path, example("from face import double; double(2)", "4"))
    assert check_examples(["face"]) == 1


@pytest.mark.parametrize(
    ("call", "result", "reason"),
    [
        ("from face import double; double(2)", "5", "Expected: | 5 | Got: | 4"),
        ("double(2)", "4", "NameError: name 'double' is not defined"),  # a reader could not type it
        ("from face import double; double()", "4", "TypeError: double() missing 1 required positional argument"),
    ],
)
def test_an_example_that_fails(
    call: str, result: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_module(monkeypatch, tmp_path, example(call, result))
    with pytest.raises(LookalikeError, match=rf"^the example of face.double fails: .*{re.escape(reason)}"):
        check_examples(["face"])


def test_a_public_name_without_an_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_module(monkeypatch, tmp_path, '__all__ = ["double"]\n\n\ndef double(number):\n    """Twice."""\n')
    fails_with("face.double is public and has no example; write one.", lambda: check_examples(["face"]))
