"""Tables against literal text, records as parquet, the whole chain of stages without Snakemake."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.studies import finish, run_stage

from lookalike.contracts.explanation import Exemplar, Explanation, read_explanations, write_explanations
from lookalike.contracts.report import Column
from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_sealed
from lookalike.reporting.catalogue import figure_paths, figures_of, table_paths, tables_of
from lookalike.reporting.style import save_figure, set_style
from lookalike.reporting.summaries import format_cell, over_seeds
from lookalike.reporting.writing import as_latex, as_markdown
from lookalike.stages.draw_figure import draw_figure
from lookalike.stages.draw_table import draw_table
from lookalike.study.plan import Plan

SHOWN = pd.DataFrame({"Model": ["nw_a", "fc"], "Accuracy (%)": ["98.80 [98.37, 99.23]", "50.00"]})


def test_markdown() -> None:
    assert as_markdown(SHOWN, "A caption.") == (
        "| Model | Accuracy (%) |\n| --- | --- |\n| nw_a | 98.80 [98.37, 99.23] |\n| fc | 50.00 |\n\nA caption.\n"
    )


def test_latex() -> None:
    assert as_latex(SHOWN, "95 % of it.", "tab:x") == (
        "\\begin{table}\n\\centering\n\\caption{95 \\% of it.}\n\\label{tab:x}\n\\begin{tabular}{ll}\n\\toprule\n"
        "Model & Accuracy (\\%) \\\\\n\\midrule\nnw\\_a & 98.80 [98.37, 99.23] \\\\\nfc & 50.00 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_over_seeds_keeps_the_order_and_one_seed_has_no_interval() -> None:
    frame = pd.DataFrame({"model": ["b", "b", "b", "a"], "seed": [0, 1, 2, 0], "accuracy": [0.97, 0.98, 0.99, 0.5]})
    rows = over_seeds(frame, ["accuracy"], ["model"])
    assert rows["model"].tolist() == ["b", "a"]
    accuracy = Column("accuracy", "Accuracy (%)", 100, 2, (0, 1))
    assert format_cell(rows.iloc[0], accuracy) == "98.00 [95.52, 100.00]"  # 100.48 cut at what is possible
    assert format_cell(rows.iloc[1], accuracy) == "50.00"
    assert rows["accuracy_high"][0] == pytest.approx(1.004841, abs=1e-6)


def test_explanations_round_trip(tmp_path: Path) -> None:
    records = [
        Explanation(3, 1, 2, 0.75, "full", [0.1, 0.15, 0.75], [Exemplar(9, 2, 0.6, -0.1), Exemplar(4, 1, 0.4, None)]),
        Explanation(4, 0, 0, 1.0, "full", [1.0, 0.0, 0.0], []),
    ]
    path = tmp_path / "records.parquet"
    write_explanations(path, records)
    assert read_explanations(path) == records
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LookalikeError, match=r"records.parquet cannot be read .*; delete it and run again"):
        read_explanations(path)


def test_stages_by_hand(tiny: Plan) -> None:
    """Every stage called as a library, in order; then a damaged prediction file and a damaged support store."""
    finish(tiny)
    run_stage(tiny, "collect_metrics")
    for name in tables_of(tiny):
        draw_table(tiny, name)
        assert all(path.stat().st_size for path in table_paths(tiny, name))
    assert list(tables_of(tiny)) == ["accuracy", "calibration", "per_class", "comparison"]
    for name in figures_of(tiny):
        draw_figure(tiny, name)
        assert all(path.stat().st_size > 1000 for path in figure_paths(tiny, name))

    metrics = pd.read_csv(tiny.folder / "tables" / "metrics.csv")
    frame = pd.read_parquet(tiny.run("digits/fc/100/seed0").predictions("linear", "test"))
    row = metrics[metrics.model == "fc"].iloc[0]
    assert row.accuracy == pytest.approx((frame.label == frame.predicted).mean())
    assert row.n == 500
    classes = pd.read_csv(tiny.folder / "tables" / "class_metrics.csv")
    np.testing.assert_allclose(classes[classes.model == "fc"].accuracy.mean(), row.accuracy)

    nw = tiny.run("digits/nw/100/seed0")
    records = read_explanations(nw.explanations("full", "test"))
    assert len(records) == 4
    assert sum(record.label != record.predicted for record in records) == 2  # half of them mistakes

    path = nw.predictions("full", "test")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LookalikeError, match=r"predictions.parquet cannot be read"):
        run_stage(tiny, "collect_metrics")
    nw.support.write_bytes(nw.support.read_bytes()[:-1])
    with pytest.raises(LookalikeError, match=r"support.safetensors is damaged"):
        run_stage(tiny, "evaluate", nw, "full", "test")
    nw.weights.write_bytes(nw.weights.read_bytes()[:-1])
    with pytest.raises(LookalikeError, match=r"model.safetensors was changed since its training ended"):
        run_stage(tiny, "embed", nw)


def test_many_classes_become_a_spread(tiny: Plan) -> None:
    keys = {"dataset": "digits", "size": "100", "mode": "linear", "evaluation_set": "test"}
    accuracy = {"nw": np.arange(30) / 30, "fc": np.full(30, 0.5)}
    rows = [
        {**keys, "model": model, "seed": seed, "label": label, "accuracy": values[label]}
        for model, values in accuracy.items()
        for seed in (0, 1)
        for label in range(30)
    ]
    write_sealed(tiny.folder / "tables" / "class_metrics.csv", pd.DataFrame(rows).to_csv(index=False))
    draw_table(tiny, "per_class")
    text = table_paths(tiny, "per_class")[2].read_text().splitlines()
    assert text[0].endswith("| lowest class | 10th percentile | median | highest class |")
    assert text[2].endswith("| nw | linear | 0.0 | 9.7 | 48.3 | 96.7 |")  # in the order of the study
    assert text[3].endswith("| fc | linear | 50.0 | 50.0 | 50.0 | 50.0 |")
    assert len(pd.read_csv(table_paths(tiny, "per_class")[0])) == 60


def test_powers_of_ten_are_drawn_and_names_are_no_formulas(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    set_style()
    figure, axes = plt.subplots(layout="constrained")
    axes.semilogy([1, 2], [0.001, 100])
    axes.set_title("Ba$$in $a_$")
    save_figure(figure, tmp_path / "log")
    text = re.sub("<!--.*?-->", "", (tmp_path / "log.svg").read_text())  # which hold the source of a formula
    assert "mathdefault" not in text
    assert "Ba$$in $a_$" in text
