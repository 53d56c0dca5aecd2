"""Published against reproduced: verdicts by literal examples, every shipped row, wrong rows, the released data."""

from pathlib import Path

import pandas as pd
import pytest

from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_sealed
from lookalike.pipeline.study_file import plan_of, read_plan
from lookalike.reporting.figures.published import draw_published
from lookalike.reporting.html.report import _published
from lookalike.reporting.published.compare import Reproduced, as_published, comparison_tables, judge, summarise
from lookalike.reporting.style import set_style
from lookalike.stages.analyse_human_study import analyse_human_study
from lookalike.stages.compare import compare
from lookalike.study.human_studies import HumanStudySettings
from lookalike.study.plan import Plan
from lookalike.study.published import COLUMNS, Published, published_names, read_published

ROOT = Path(__file__).parents[2]
NAN = float("nan")
APART = "{:.2f} apart, 95 % of such differences are below {:.2f}"


def plan_in(root: Path, study: str, **changes: object) -> Plan:
    """The plan of a study that ships, with its results below a folder."""
    return read_plan(ROOT / study).model_copy(update={"root": root, **changes})


def number(value: str = "71.29", **more: object) -> Published:
    """A published number of a study of made-up results."""
    empty = dict.fromkeys(("spread", "spread_kind", "tolerance", "note"), "")
    words = {"paper": "p", "table": "t", "row": "r", "column": "c", "unit": "%", "source": "s", "mark": "published"}
    return Published(**{**empty, **words, "value": value, "n": None, "addresses": (), **more})  # type: ignore[arg-type]


def seeds(value: float, sd: float, n: int, planned: int | None = None) -> Reproduced:
    return Reproduced(value, sd, NAN, NAN, n, planned or n)


def exact(value: float) -> Reproduced:
    return Reproduced(value, NAN, NAN, NAN, 100)


@pytest.mark.parametrize(
    ("published", "reproduced", "verdict", "why"),
    [
        # rounded as printed
        (number("71.29"), exact(71.2949), "match", ""),
        (number("71.29"), exact(71.2951), "differs", ""),
        (number("71.3"), exact(71.26), "match", ""),
        (number("3.8e-6"), exact(3.84e-6), "match", ""),
        (number("3.8e-6"), exact(3.9e-6), "differs", ""),
        (number("1088"), exact(1088), "match", ""),
        (number("1088"), exact(1087), "differs", ""),
        (number("+2.52"), exact(2.517), "match", ""),
        # a tolerance that the row states
        (number("81.14", tolerance="0.12", note="noise"), exact(81.25), "match", "within 0.12: noise"),
        (number("81.14", tolerance="0.12", note="noise"), exact(81.27), "differs", "noise"),
        (number("0.010", tolerance="33%"), exact(0.0149), "match", "within 33%: "),
        (number("0.010", tolerance="33%"), exact(0.0150), "differs", ""),
        # seeds: 15 published runs without a spread are taken to spread like ours; t(14) sqrt(2/15) = 0.7832 sd
        (number("66.93", n=15), seeds(67.70, 1.0, 15), "within seed spread", APART.format(0.77, 0.78)),
        (number("66.93", n=15), seeds(67.72, 1.0, 15), "differs", APART.format(0.79, 0.78)),
        # no number of runs: one; t(14) sqrt(1 + 1/15) = 2.2152 sd
        (number("66.93"), seeds(69.1, 1.0, 15), "within seed spread", APART.format(2.17, 2.22)),
        # both spreads: Welch, 8.0 freedom: t sqrt(4/5 + 4/5)
        (
            number("60", n=5, spread="2", spread_kind="sd over seeds"),
            seeds(62.5, 2.0, 5),
            "within seed spread",
            APART.format(2.50, 2.92),
        ),
        (number("66.93", n=15), seeds(66.93, 1.0, 3, 15), "match", "3 of 15 seeds"),
        (
            number("66.93", n=15),
            seeds(69.0, 1.0, 3, 15),
            "within seed spread",
            APART.format(2.07, 2.72) + "; 3 of 15 seeds",
        ),
        (number("66.93", n=15), seeds(69.0, NAN, 1, 1), "differs", "no spread is known: 1 of 1 seeds"),
        (
            number("71.29", n=15, spread="5.75", spread_kind="sd over seeds"),
            seeds(80.0, NAN, 1, 1),
            "within seed spread",
            APART.format(8.71, 12.74),
        ),
        # two of our seeds say nothing of their spread
        (number("66.93", n=15), seeds(69.0, 1.0, 2, 15), "differs", "no spread is known: 2 of 15 seeds"),
        (
            number("66.9", n=5, spread="0", spread_kind="sd over seeds"),
            seeds(69.0, 0.0, 5),
            "differs",
            APART.format(2.10, 0.0),
        ),
        (number("66.93"), exact(NAN), "differs", "the reproduction is not a number"),
    ],
)
def test_verdicts(published: Published, reproduced: Reproduced, verdict: str, why: str) -> None:
    assert judge(published, reproduced) == (verdict, why)


def test_reproduced_numbers_have_one_digit_more() -> None:
    assert as_published(71.2949, "71.29") == "71.295"
    assert as_published(4.484e-6, "3.8e-6") == "4.48e-06"
    assert as_published(1088.0, "1088") == "1088"
    assert as_published(NAN, "1088") == ""


HEAD = ",".join(COLUMNS)
GOOD = "p,t,r,c,1.5,%,,,3,published,,run:svhn/fc/all/linear@test/accuracy,page 3,"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, GOOD], r"made.csv, line 3: t, r, c stands in line 2 already; take one out"),
        ([GOOD.replace("%", "percent")], r"made.csv, line 2: unit is 'percent'; it must be one of %, points, s"),
        ([GOOD.replace("1.5", "about 2")], r"made.csv, line 2: value is 'about 2', which is no number"),
        ([GOOD.replace("1.5", "")], r"made.csv, line 2: value is '', which is no number; unreadable numbers have mark"),
        ([GOOD.replace("1.5", "nan")], r"value is 'nan', which is no number"),
        ([GOOD.replace(",published,", ",seen,")], r"line 2: mark is 'seen'; it must be one of published, recomputed"),
        ([GOOD.replace(",published,", ",unreadable,")], r"line 2: what nobody could read has no value, and a note"),
        ([GOOD.replace(",3,", ",many,")], r"line 2: n is 'many', which is no whole number above 0"),
        ([GOOD.replace("run:svhn/fc/all", "run:svhn/fc")], r"line 2: reproduced_by has 'run:svhn/fc/linear@test/acc"),
        ([GOOD.replace("page 3", "")], r"line 2: source is empty; write it"),
        ([GOOD.replace("%,,", "%,2,")], r"line 2: spread and spread_kind belong together"),
        ([GOOD.replace("%,,", "%,2,guess")], r"line 2: spread_kind is 'guess'; it must be one of sd over seeds"),
        ([GOOD.replace("published,,", "published,x,")], r"line 2: tolerance is 'x', which is no number"),
        ([GOOD + ",more"], r"line 2: it has not 14 cells; put text with commas into quotes"),
        ([GOOD[:-2]], r"line 2: it has not 14 cells"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[str], message: str) -> None:
    (tmp_path / "made.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    with pytest.raises(LookalikeError, match=message):
        read_published("made", tmp_path)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "made.csv").write_text("value\n1\n")
    with pytest.raises(LookalikeError, match=r"made.csv, line 1: the columns must be paper,table,row,column"):
        read_published("made", tmp_path)
    with pytest.raises(LookalikeError, match=r"absent.csv is missing; there are classifiers, human_study, memory_wrap"):
        read_published("absent", tmp_path)


def test_a_study_names_files_that_are_there() -> None:
    values = read_plan(ROOT / "config.yaml").model_dump(mode="json") | {"published": ["human_studies"]}
    with pytest.raises(LookalikeError, match=r"published names 'human_studies', .*Write\n  published: \[human_study\]"):
        plan_of(values, "mine.yaml")


def test_every_shipped_row_is_reproduced_by_a_study_that_ships() -> None:
    plans = [read_plan(path) for path in [ROOT / "config.yaml", *(ROOT / "workflow/studies").glob("*.yaml")]]
    for name in published_names():
        naming = [plan for plan in plans if name in plan.published]
        assert naming, f"no study names {name}"
        for row in read_published(name):
            for address in row.addresses:
                assert any(address.is_in(plan) for plan in naming), address.text


def test_memory_wraps_readme_table_and_dense_flows_densities_are_there() -> None:
    rows = [row for row in read_published("memory_wrap") if row.table == "readme_mobilenet_v2"]
    assert len(rows) == 24
    assert {(row.row, row.column): row.value for row in rows}["SVHN, Memory Wrap", "1000"] == "66.93"
    densities = [row for row in read_published("protoflow") if row.unit == "bits/dim"]
    assert [(row.row, row.value) for row in densities] == [
        ("CIFAR-10", "2.98"),
        ("ImageNet32", "3.63"),
        ("CelebA64", "1.99"),
        ("ImageNet64", "3.35"),
    ]


METRICS = ["dataset", "size", "model", "mode", "evaluation_set", "seed", "accuracy", "bits_per_dim"]


def write_metrics(plan: Plan, rows: list[tuple[object, ...]]) -> None:
    """Made-up results, for this test alone."""
    write_sealed(plan.folder / "tables" / "metrics.csv", pd.DataFrame(rows, columns=METRICS).to_csv(index=False))


def compared(plan: Plan) -> pd.DataFrame:
    """The verdicts of a study, as the stage writes them."""
    summary = compare(plan)
    table = pd.read_csv(plan.folder / "tables" / "published.csv", keep_default_na=False)
    assert summary == summarise(table.assign(reproduced=pd.to_numeric(table.reproduced, errors="coerce")))
    for suffix in ("md", "tex"):
        assert (plan.folder / "tables" / f"published.{suffix}").stat().st_size > 500
    return table


def test_verdicts_of_made_up_results(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "workflow/studies/memory_wrap.yaml")
    table = compared(plan)
    assert set(table.verdict[table.reproduced_by != ""]) == {"not run"}
    rows: list[tuple[object, ...]] = []
    for seed in plan.seeds:
        wobble = (seed - 7) / 1000  # mean 0
        rows.append(("svhn", "1000", "mobilenet_std", "linear", "test", seed, 0.4271 + wobble, None))
        rows.append(("svhn", "1000", "mobilenet_wrap", "draws", "test", seed, 0.6720 + wobble, None))
        rows.append(("svhn", "2000", "mobilenet_std", "linear", "test", seed, 0.9 + wobble, None))
    write_metrics(plan, rows)
    table = compared(plan)
    verdicts = {(row.row, row.column): row.verdict for _, row in table[table.table == "readme_mobilenet_v2"].iterrows()}
    assert verdicts["SVHN, Std", "1000"] == "match"
    assert verdicts["SVHN, Memory Wrap", "1000"] == "within seed spread"
    assert verdicts["SVHN, Std", "2000"] == "differs"
    assert verdicts["SVHN, Std", "5000"] == "not run"
    (rerun,) = [row for _, row in table.iterrows() if row.table == "rerun_svhn_2000" and row.row == "Std"]
    assert rerun.verdict == "differs"
    assert rerun.mark == "third-party"


def test_verdicts_of_made_up_densities(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "workflow/studies/protoflow.yaml")
    values = enumerate((2.97, 2.98, 2.985))
    write_metrics(plan, [("cifar10", "all", "flow_scratch", "density", "test", seed, None, v) for seed, v in values])
    table = compared(plan)
    table = table[table.unit == "bits/dim"]
    verdicts = dict(zip(table.row, table.verdict, strict=True))
    assert verdicts["CIFAR-10"] == "match"
    assert verdicts["CelebA64"] == "cannot be run here"
    why = dict(zip(table.row, table.why, strict=True))
    assert why["CelebA64"] == "this data set is not among those of the study"


@pytest.mark.long
def test_released_data_give_every_published_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers of the human study and of the classifiers alone; one pair is starred by chance, and says so."""
    monkeypatch.chdir(ROOT)
    plan = plan_in(tmp_path, "config.yaml")
    for name in plan.human_studies:
        analyse_human_study(plan, name)
    table = compared(plan)
    readable = table[table.mark != "unreadable"]
    counts = readable.verdict.value_counts().to_dict()
    human = readable[readable.table.isin({row.table for row in read_published("human_study")})]
    assert len(human) == 270
    assert (human.verdict == "match").sum() == 269
    assert counts == {"match": len(readable) - 2, "differs": 1, "cannot be run here": 1}
    (borderline,) = [row for _, row in readable[readable.verdict == "differs"].iterrows()]
    assert (borderline.table, borderline.row) == ("significance_imagenet", "ResNet-50 vs EMD-Corr")
    assert borderline.why.startswith("borderline")
    numbers = {c: pd.to_numeric(table[c], errors="coerce") for c in ("reproduced", "low", "high", "difference")}
    assert comparison_tables(table.assign(**numbers))[-1].name == "absent"


def test_a_file_of_numbers_alone_goes_through_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text in the columns of numbers; saved by a spreadsheet, with a byte order mark; an entry without its pool."""
    addresses = "human:cub/accuracy/kNN/accuracy ; human:cub/team/kNN/team"
    row = f"p,3,1,2,42.70,%,1.50,sd over seeds,3,published,,{addresses},page 3,"
    (tmp_path / "made.csv").write_text(f"{HEAD}\n{row}\n", encoding="utf-8-sig")
    monkeypatch.setattr("lookalike.study.published.read_published", lambda name: read_published(name, tmp_path))
    human = {"cub": HumanStudySettings(trials="t.csv", sessions="s.csv")}
    plan = plan_in(tmp_path, "config.yaml", published=("made",), human_studies=human)
    write_sealed(
        plan.human_study("cub"),
        "table,row,column,value,unit,sd,low,high,n\naccuracy,kNN,accuracy,42.7001,%,1.5,40,45,3\n",
    )
    assert compare(plan).startswith("1 number (1 published): 1 match; 0 published")
    part = _published(plan)
    assert part is not None
    ((cells, links),) = part["tables"][0]["rows"]
    assert cells[:5] == ["1", "2", "%", "42.70 \N{PLUS-MINUS SIGN} 1.50", "42.700 [40.000, 45.000]"]
    assert links == [("cub", "human_study/cub.json")]
    set_style()
    assert len(draw_published(plan).axes) == 1


def test_an_address_that_leads_nowhere_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("run:svhn/fc/all/linear@test/accuracy", "human:cub/accuracy/kNN/acuracy")
    (tmp_path / "made.csv").write_text(f"{HEAD}\n{text}\n")
    plan = plan_in(tmp_path, "config.yaml", published=("made",))
    monkeypatch.setattr("lookalike.study.published.read_published", lambda name: read_published(name, tmp_path))
    write_sealed(plan.human_study("cub"), "table,row,column,value,unit,sd,low,high,n\naccuracy,kNN,accuracy,1,%,,,,3\n")
    with pytest.raises(LookalikeError, match=r"human:cub/accuracy/kNN/acuracy is no cell of the analysis"):
        compare(plan)
