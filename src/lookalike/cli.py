"""`lookalike <verb>`: one verb a stage. Every stage takes one run or several, each with its own log and failure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lookalike.cli_data import data_app
from lookalike.errors import LookalikeError
from lookalike.plan import Plan, RunSpec
from lookalike.reporting.names import figure_names, table_names
from lookalike.work import Work

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data_app, name="data")
PlanFile = Annotated[Path, typer.Argument(help="results/<study>/plan.json, or the study's YAML.")]
Runs = Annotated[list[str], typer.Argument(help="Runs such as digits/nw/all/seed0.")]
Modes = Annotated[list[str], typer.Option("--mode", help="Inference mode; may be repeated.")]
Split = Annotated[str, typer.Option("--set", help="Evaluation set.")]
Bar = Annotated[bool | None, typer.Option("--progress/--no-progress", help="Progress bar; on a terminal by default.")]


def read_plan(path: Path) -> Plan:
    """The plan of a plan.json or of a study's YAML."""
    if path.suffix == ".json":
        return Plan.read(path)
    from lookalike.study import read_study

    return read_study(path).plan()  # not written: the workflow that makes the study may run


@app.command()
def plan(study: Annotated[Path, typer.Argument(help="A study's YAML.")] = Path("config.yaml")) -> None:
    """Show what a study will do: runs, jobs, what is done or out of date and why, time, disk, data."""
    from lookalike.forecast import show_plan

    show_plan(study, read_plan(study))


@app.command()
def status(
    plan: PlanFile = Path("config.yaml"),
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed, one line each.")] = False,
) -> None:
    """Show where a study stands: done, running, failed and why, out of date, and the commands to do it again."""
    from lookalike.status import show_failures, show_status

    known = read_plan(plan)
    if failed:
        show_failures(known)
    else:
        show_status(known, known.folder / "config.json" if plan.suffix == ".json" else plan)


@app.command()
def train(plan: PlanFile, runs: Runs, progress: Bar = None) -> None:
    """Train runs; a killed training goes on from its checkpoint."""
    from lookalike.training.train import train as train_run

    known, work = read_plan(plan), Work("train")
    for run in map(known.run, runs):
        work.do(run.id, run.log("train"), lambda run=run: _train(run, train_run, progress))  # type: ignore[misc]
    work.end()


def _train(run: RunSpec, train_run: Callable[..., None], bar: bool | None) -> str:
    """Train one run with a progress bar or log lines, mirrored live."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    if not run.trained:
        source = run.source.id if run.source else run.settings["backbone"]["weights"]
        raise LookalikeError(f"{run.id} trains nothing; its network comes from {source}.")
    from lookalike.tracking.live import LiveTracker

    tracker = LiveTracker(run)
    shown = sys.stderr.isatty() if bar is None else bar
    total, last = run.settings["training"]["epochs"], {}
    with Bars(console=Console(stderr=True), disable=not shown, transient=True) as bars:
        task = bars.add_task(run.id, total=total)

        def on_epoch(progress: Any) -> None:
            history = progress.history or []
            if history:
                last.update(history[-1])
                logging.getLogger("lookalike").info(
                    "epoch %d/%d loss %.4f accuracy %.4f lr %.5f",
                    last["epoch"],
                    total,
                    last["loss"],
                    last["accuracy"],
                    last["lr"],
                )
            bars.update(task, completed=len(history))
            tracker(progress, last=len(history) == total)

        train_run(run, on_epoch)
    if not last:
        return "made by another process meanwhile"
    return f"loss {last['loss']:.4f}, training accuracy {last['accuracy']:.2%}"


@app.command()
def make_patch(plan: PlanFile, runs: Runs) -> None:
    """Train the study's adversarial patch against runs."""
    from lookalike.evaluation.patch import make_patch as make

    known = read_plan(plan)
    if known.patch is None:
        raise LookalikeError(f"study {known.study} has no patch; write patch: {{model: ..., target: ...}}.")
    _each_run("make_patch", known, runs, make)


@app.command()
def precompute_support(plan: PlanFile, runs: Runs) -> None:
    """Embed support and queries; centroids, neighbour index."""
    from lookalike.support.precompute import precompute_support as precompute

    _each_run("precompute_support", read_plan(plan), runs, precompute)


@app.command()
def embed_queries(
    plan: PlanFile, runs: Runs, name: Annotated[str, typer.Option("--set", help="Evaluation set.")]
) -> None:
    """Embed changed images, or those of another data set, beside the support of runs."""
    from lookalike.support.precompute import embed_queries as embed

    known = read_plan(plan)
    for run in map(known.run, runs):
        others = known.sets_of(run.dataset) + known.outlier_sets(run.dataset, run.size)
        if known.is_with_support(name) or name not in others:
            raise LookalikeError(f"{name} is no changed or foreign evaluation set of {run.dataset}; see the study.")
    _each_run("embed_queries", known, runs, lambda run: embed(run, name), name)


@app.command()
def evaluate(plan: PlanFile, runs: Runs, modes: Modes, split: Split = "test") -> None:
    """Write predictions of runs in one or several modes."""
    from lookalike.evaluation.evaluate import evaluate as evaluate_run

    _each_mode("evaluate", evaluate_run, plan, runs, modes, split)


@app.command()
def explain(plan: PlanFile, runs: Runs, modes: Modes, split: Split = "test") -> None:
    """Write explanation records of sampled queries."""
    from lookalike.explanation.explain import explain as explain_run

    _each_mode("explain", explain_run, plan, runs, modes, split)


@app.command()
def score_counterfactuals(plan: PlanFile, runs: Runs, split: Split = "test") -> None:
    """Score counterfactual images by autoencoders, beside a prototype-guided search."""
    from lookalike.explanation.counterfactuals import score_counterfactuals as score

    _each_run("score_counterfactuals", read_plan(plan), runs, lambda run: score(run, split), split)


@app.command()
def score_correspondences(plan: PlanFile, runs: Runs, split: Split = "test") -> None:
    """Score patch pairs: by known parts, by warps, and by what the vote owes to them."""
    from lookalike.evaluation.correspondence import score_correspondences as score

    _each_run("score_correspondences", read_plan(plan), runs, lambda run: score(run, split), split)


@app.command()
def show_prototypes(plan: PlanFile, runs: Runs, split: Split = "test") -> None:
    """Pictures of prototypes, their nearest training images, and accuracy with fewer of them."""
    from lookalike.explanation.prototypes import show_prototypes as show

    _each_run("show_prototypes", read_plan(plan), runs, lambda run: show(run, split), split)


def _each_run(stage: str, plan: Plan, runs: list[str], action: Callable[[RunSpec], str | None], of: str = "") -> None:
    """Do a stage for several runs; `of` tells its logs apart."""
    work = Work(stage)
    for run in map(plan.run, runs):
        log = run.log(f"{stage}-{of}" if of else stage)
        work.do(run.id, log, lambda run=run: action(run))  # type: ignore[misc]
    work.end()


def _each_mode(
    stage: str, action: Callable[[RunSpec, str, str], None], plan: Path, runs: list[str], modes: list[str], split: str
) -> None:
    known, work = read_plan(plan), Work(stage)
    for run in map(known.run, runs):
        for mode in modes:
            if mode not in run.settings["modes"]:
                raise LookalikeError(
                    f"{run.id} has no mode {mode!r}; its modes are {', '.join(run.settings['modes'])}."
                )
            log = run.log(f"{stage}-{mode}@{split}")
            work.do(f"{run.id} {mode}@{split}", log, lambda r=run, m=mode: action(r, m, split))  # type: ignore[misc]
    work.end()


@app.command()
def run_pack(
    plan: PlanFile,
    names: Annotated[list[str], typer.Argument(help="Packs such as digits-fc-all-0.")],
    cores: Annotated[int, typer.Option(help="CPU cores of this job.")] = 1,
) -> None:
    """Make all files of packs of runs, inside one job of a cluster."""
    from lookalike.packs import run_pack as run

    known, work = read_plan(plan), Work("run_pack")
    for name in names:
        log = known.folder / "logs" / f"run_pack-{name}.log"
        work.do(name, log, lambda name=name: run(known, name, cores))  # type: ignore[misc]
    work.end()


@app.command()
def analyse_responses(
    plan: PlanFile, names: Annotated[list[str], typer.Argument(help="Entries of `human_studies`.")]
) -> None:
    """Analyse people's responses and released outputs of classifiers."""
    from lookalike.human_study.analyse import analyse_responses as analyse

    known, work = read_plan(plan), Work("analyse_responses")
    for name in names:
        log = known.folder / "logs" / f"analyse_responses-{name}.log"
        work.do(name, log, lambda name=name: analyse(known, name))  # type: ignore[misc]
    work.end()


@app.command()
def collect_metrics(plan: PlanFile) -> None:
    """Gather all predictions of a study into small files."""
    from lookalike.evaluation.collect import collect_metrics as collect

    known, work = read_plan(plan), Work("collect_metrics")
    work.do(known.study, known.folder / "logs" / "collect_metrics.log", lambda: collect(known))
    work.end()


@app.command()
def compare(plan: PlanFile = Path("config.yaml")) -> None:
    """Compare published numbers with those of a study, finished or not: a verdict for each."""
    from lookalike.reporting.compare import compare as compare_study

    known, work = read_plan(plan), Work("compare")
    if not known.published:
        raise LookalikeError(f"{known.study} names no published numbers; write published: [memory_wrap], say.")
    work.do(known.study, known.folder / "logs" / "compare.log", lambda: compare_study(known))
    work.end()


@app.command()
def draw_table(plan: PlanFile, names: Annotated[list[str], typer.Argument(help="Tables.")]) -> None:
    """Write tables as CSV, LaTeX and Markdown."""
    from lookalike.reporting.tables import draw_table as draw

    _each_name("draw_table", draw, plan, names)


@app.command()
def draw_figure(plan: PlanFile, names: Annotated[list[str], typer.Argument(help="Figures.")]) -> None:
    """Write figures as SVG, PDF and PNG."""
    from lookalike.reporting.figures import draw_figure as draw

    _each_name("draw_figure", draw, plan, names)


def _each_name(stage: str, draw: Callable[[Plan, str], None], plan: Path, names: list[str]) -> None:
    known, work = read_plan(plan), Work(stage)
    for name in names:
        there = table_names(known) if stage == "draw_table" else figure_names(known)
        if name not in there:
            raise LookalikeError(
                f"{known.study} has no {stage.removeprefix('draw_')} {name!r}; there are {', '.join(there)}."
            )
        work.do(name, known.folder / "logs" / f"{stage}-{name}.log", lambda n=name: draw(known, n))  # type: ignore[misc]
    work.end()


@app.command()
def write_report(
    plan: PlanFile,
    tables: Annotated[list[str], typer.Option("--table", help="Tables, in order.")],
    figures: Annotated[list[str], typer.Option("--figure", help="Figures, in order.")],
) -> None:
    """Write the HTML report."""
    from lookalike.reporting.report import write_report as write

    known, work = read_plan(plan), Work("write_report")
    work.do(known.study, known.folder / "logs" / "write_report.log", lambda: write(known, tables, figures))
    work.end()


@app.command()
def init_tracking(plan: PlanFile) -> None:
    """Create the MLflow database, experiment and parent run of a study."""
    _with_mirror(plan, "init_tracking", lambda mirror: f"experiment {mirror.plan.study}")


@app.command()
def sync_tracking(plan: PlanFile) -> None:
    """Bring MLflow up to date with the files; mark killed runs."""
    _with_mirror(
        plan,
        "sync_tracking",
        lambda mirror: ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in mirror.sync().items()),
    )


def _with_mirror(plan: Path, stage: str, action: Callable[[Any], str]) -> None:
    """Do something with MLflow; what goes wrong is said, and fails nothing."""
    from lookalike.files import write_json

    known = read_plan(plan)
    try:
        from lookalike.tracking.mlflow_mirror import Mirror

        said = action(Mirror(known))
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        said = f"MLflow is unavailable ({reason}); results are complete without it"
        typer.echo(f"warning: {said}", err=True)
    write_json(known.root / "tracking" / f"{stage}-{known.study}.json", {"said": said})
    typer.echo(f"{stage} {known.study}: {said}")


@app.command()
def bundle(
    plan: PlanFile,
    output: Annotated[Path | None, typer.Option(help="File to write; <study>.zip by default.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Add the networks.")] = False,
) -> None:
    """Put tables, figures, predictions and records of a study into one file for another machine."""
    from lookalike.bundle import bundle as make

    known = read_plan(plan)
    typer.echo(f"bundle {known.study}: {make(known, output or Path(f'{known.study}.zip'), weights)}")


@app.command()
def unbundle(
    file: Annotated[Path, typer.Argument(help="What `lookalike bundle` wrote.")],
    results: Annotated[Path, typer.Option(help="Folder to open it in.")] = Path("results"),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Draw all tables and figures anew.")] = False,
) -> None:
    """Open a bundle: check every file by its hash, mirror its runs in MLflow, draw anew if asked."""
    from lookalike.bundle import rebuild as draw
    from lookalike.bundle import unbundle as open_bundle

    known = open_bundle(file, results)
    typer.echo(f"unbundle {known.study}: all files as they were, in {known.folder}")
    if rebuild:
        for remark in draw(known):
            typer.echo(remark)
        typer.echo(f"unbundle {known.study}: tables and figures drawn anew")
    sync_tracking(known.path)


@app.command()
def train_matching(
    layout: Annotated[Literal["pf_pascal", "spair71k"], typer.Argument(help="Of the pairs.")],
    folder: Annotated[Path, typer.Argument(help="What its archive unpacks to.")],
    start: Annotated[Path, typer.Argument(help="Weights of a ResNet-101, or a checkpoint to go on from.")],
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    kernel: Annotated[Literal["psi", "iso", "full"], typer.Option(help="How weights are shared.")] = "psi",
    epochs: Annotated[int, typer.Option(help="Over the training pairs.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Pairs a step.")] = 20,
    side: Annotated[int, typer.Option(help="Of the squashed images, pixels.")] = 240,
    seed: Annotated[int, typer.Option(help="Of initialisation and order.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Train CHM-Corr's matching network on pairs with annotated key points."""
    from lookalike.training.matching import train_matching as train

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    best = train(layout, folder, out, start, kernel, epochs, batch_size, side, seed, threads)
    typer.echo(f"train-matching {out}: best validation PCK@0.1 {best:.2%}")


@app.command()
def score_matching(
    weights: Annotated[Path, typer.Argument(help="A checkpoint.")],
    layout: Annotated[Literal["pf_pascal", "spair71k", "pf_willow"], typer.Argument(help="Of the pairs.")],
    folder: Annotated[Path, typer.Argument(help="What its archive unpacks to.")],
    split: Annotated[Literal["trn", "val", "test"], typer.Option(help="Of the pairs.")] = "test",
    side: Annotated[int, typer.Option(help="Of the squashed images, pixels.")] = 240,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Score a matching network by PCK on pairs with annotated key points."""
    from lookalike.training.matching import score_matching as score

    found = score(weights, layout, folder, split, side, threads)
    typer.echo(f"score-matching {weights}: {', '.join(f'PCK@{alpha} {share:.2%}' for alpha, share in found.items())}")


@app.command()
def make_smoke(
    study: Annotated[Path, typer.Argument(help="A study's YAML.")],
    folder: Annotated[Path, typer.Argument(help="Made anew; the small study, its data and its results.")],
) -> None:
    """Make a study in small, with made-up images and random networks, to see that all of it works."""
    from lookalike.smoke import make_smoke as make

    typer.echo(f"make-smoke {study}: {make(study, folder)} in {folder}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a study."""
    import json

    from lookalike.study import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main() -> None:
    """Entry point: a user's mistake is one sentence, anything else a traceback."""
    try:
        app(prog_name="lookalike")
    except LookalikeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
