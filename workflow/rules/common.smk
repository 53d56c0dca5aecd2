# The study, checked and resolved before any rule is read; helpers of the other rule files.
import gc
import json
import os
import sys
from functools import cache
from pathlib import Path

from lookalike import controller
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import FILTERS, entry_settings
from lookalike.data.source import downloads
from lookalike.errors import LookalikeError
from lookalike.evaluation.sets import PATTERN, evaluation_set
from lookalike.files import digest, sha256
from lookalike.forward import forward_stop_signals
from lookalike.human_study.settings import FILES
from lookalike.needs import RUNS_AT_ONCE, job_needs, largest_asked
from lookalike.packs import INSIDE, forget_broken, packs, write_config
from lookalike.plan import Plan, named_weights
from lookalike.reporting.names import (
    figure_names,
    figure_paths,
    released_figures,
    released_tables,
    shown_explanations,
    table_names,
    table_paths,
)
from lookalike.reporting.published import FOLDER
from lookalike.serve import client
from lookalike.stages import prepared_version, stage_code

# The file that messages name; with --config alone it is still config.yaml that is wrong.
STUDY_FILE = str((workflow.overwrite_configfiles or ["config.yaml"])[-1])
STUDY_FILE = STUDY_FILE.removeprefix(os.getcwd() + os.sep)
# A job reads what the main process resolved: each job of a cluster reads these files twice, and checking a study
# loads torch.
if workflow.is_main_process:
    from lookalike.study import check_study

    try:
        PLAN = check_study(config, STUDY_FILE).plan()
    except LookalikeError as error:
        sys.exit(f"error: {error}")  # a WorkflowError would add the lines of this file
    if INSIDE not in os.environ:
        controller.wrap_slurm_commands(Path(workflow.basedir) / "profiles/slurm/bin")
        if other := controller.whose(PLAN):
            print(f"study {PLAN.study} is being made by {other}", file=sys.stderr)
        else:
            forget_broken(PLAN)
        controller.clear_stale_locks(PLAN.root)
else:
    PLAN = Plan.read(Path("results") / config["name"] / "plan.json")
ENTRIES = {name: entry_settings(values) for name, values in PLAN.datasets.items()}

# SLURM tells only the first process of a job that it is to end, and that is Snakemake, which would wait.
if "SLURM_JOB_ID" in os.environ and (
    INSIDE in os.environ or not workflow.is_main_process
):
    forward_stop_signals()

# Evaluation sets that are not embedded together with the support: changed images, and those of another entry.
QUERY_SETS = [name for name in PLAN.evaluation_sets if not PLAN.is_with_support(name)]
QUERY_SETS += [name for name, settings in ENTRIES.items() if settings.asked_of]

# The commands of the environment that runs Snakemake, whether it is activated or not.
PREFIX = f'export PATH="{Path(sys.executable).parent}:$PATH"; '
# A job costs milliseconds where a warm process has torch loaded. Not inside a SLURM job, whose end would end that
# process and every other job's work with it.
# A pack has an allocation for itself.
if os.environ.get("LOOKALIKE_SERVER") != "0" and (
    "SLURM_JOB_ID" not in os.environ or INSIDE in os.environ
):
    PREFIX += (
        f'lookalike() {{{{ "{sys.executable}" -S -E "{client.__file__}" "$@"; }}}}; '
    )
shell.prefix(PREFIX)

# A study of thousands of jobs makes millions of objects that stay; looking for garbage among them took a fifth of the
# time that the plan took (benchmarks/large_study.py).
gc.freeze()
gc.set_threshold(50_000, 20, 50)

RUN = "{dataset}/{model}/{size}/seed{seed}"


def trained_models():
    """Models that train a network, or what they put on a frozen one."""
    return [name for name, settings in PLAN.models.items() if settings.get("training")]


def frozen_models():
    """Models on a frozen backbone that train nothing."""
    return [
        name for name, settings in PLAN.models.items() if not settings.get("training")
    ]


def constrained_run(models):
    """The pattern of a run's folder for some models only; nothing matches it where there is none."""
    return RUN.replace("{model}", "{model," + ("|".join(models) or "(?!)") + "}")


pathvars:
    study=str(PLAN.folder),
    data=str(PLAN.root / "data"),
    downloads=str(downloads()),
    run=str(PLAN.folder / RUN),
    trained_run=str(PLAN.folder / constrained_run(trained_models())),
    frozen_run=str(PLAN.folder / constrained_run(frozen_models())),


wildcard_constraints:
    dataset=r"[a-z][a-z0-9_]*",
    model=r"[a-z][a-z0-9_]*",
    size=r"all|\d+",
    seed=r"\d+",
    mode=r"[a-z_]+",
    split="|".join([PATTERN, *QUERY_SETS]),
    query_set="|".join(QUERY_SETS) or "(?!)",
    prepared=r"[a-z0-9_-]+",
    source=r"[a-z0-9_]+",
    explanation=r"[a-z0-9_-]+",
    responses="|".join(PLAN.human_studies) or "(?!)",
    released_table="|".join(released_tables(PLAN)) or "(?!)",
    released_figure="|".join(released_figures(PLAN)) or "(?!)",
    pack=r"[a-z0-9_-]+",


def prepared_from(folder):
    """What a prepared data set was made of; nothing where it is not there."""
    path = folder / "made_of.txt"
    return path.read_text() if path.exists() else None


# Folder below results/data -> what prepares it; two entries of a study may read one folder.
PREPARED = {settings.prepared: settings for settings in ENTRIES.values()}
# What each folder would be made of now, and whether that is what it was made of.
VERSIONS = {folder: prepared_version(PREPARED[folder]) for folder in PREPARED}
UNCHANGED = {
    folder: prepared_from(PLAN.root / "data" / folder) == VERSIONS[folder]
    for folder in PREPARED
}


def entry_of(wildcards):
    """The settings of a run's data set."""
    return ENTRIES[wildcards.dataset]


def data_version(wildcards):
    """What a run reads: the prepared data set and how the study reads it."""
    return version_of_entry(entry_of(wildcards))


def version_of_entry(settings):
    """A prepared data set and how the study reads it."""
    reading = json.dumps(settings.reading(), sort_keys=True)
    return f"{VERSIONS[settings.prepared]} {reading}"


def query_version(wildcards):
    """What only chooses queries, and so trains nothing anew."""
    return entry_of(wildcards).choosing()


def clean_of(wildcards):
    """The clean queries, where the study asks for what our own filters leave."""
    return clean_of_entry(wildcards.dataset)


def clean_of_queries(wildcards):
    """The same for a query set."""
    name = wildcards.query_set
    return clean_of_entry(name if name in ENTRIES else wildcards.dataset)


def clean_of_entry(name):
    """The list of what our own filters leave, where an entry asks for it."""
    own_filters = getattr(ENTRIES[name], "queries", "all") == "clean"
    folder = PLAN.data_folder(name)
    return str(folder / "filters" / "clean.json") if own_filters else []


def manifest_of(wildcards):
    """The manifest of the prepared data set that a run reads."""
    return manifest_of_entry(wildcards.dataset)


def manifest_of_queries(wildcards):
    """The manifest of the other data set that a query set's images come from, if they do."""
    other = wildcards.query_set in ENTRIES
    return manifest_of_entry(wildcards.query_set) if other else []


def manifest_of_entry(name):
    """The manifest of a prepared data set.

    Repaired data is the same data (`ancient`). Where it is made of something else now, `ancient` would be wrong:
    Snakemake looks at no parameter of a job that waits for another one, and would leave the run as it is.
    """
    prepared = ENTRIES[name].prepared
    path = str(PLAN.root / "data" / prepared / "manifest.json")
    return ancient(path) if UNCHANGED[prepared] else path


def filter_weights_of(wildcards):
    """The network by which duplicates are found, whichever entry names it."""
    named = [
        settings.duplicate_weights
        for settings in ENTRIES.values()
        if settings.prepared == wildcards.prepared and settings.duplicate_weights
    ]
    return named[0] if named and wildcards.filter == "duplicates" else []


def fetched_of(wildcards):
    """The record of the files that a data set is prepared from; none where it needs no download."""
    source = PREPARED[wildcards.prepared].source
    if not DATA_SETS[source].files:
        return []
    path = str(downloads() / source / "fetched.json")
    return ancient(path) if UNCHANGED[wildcards.prepared] else path


def stop_at_missing_data():
    """Stop before the first job where a person must fetch data or accept its terms."""
    from lookalike.forecast import obstacles

    messages = [] if wants_only_the_plan() else obstacles(PLAN)
    if messages:
        sys.exit("\n".join(f"error: {message}" for message in messages))


def take_control():
    """Be the one controller of the study; after a killed one, make the plan anew."""
    if INSIDE in os.environ:
        return
    try:
        cancelled = controller.take_control(PLAN, workflow.scheduler._executor)
    except LookalikeError as error:
        sys.exit(f"error: {error}")
    # Not before: jobs of another controller read them.
    PLAN.write()
    write_config(PLAN, config)
    if cancelled:
        print(
            f"cancelled {cancelled} jobs of a controller that was killed; starting over",
            flush=True,
        )
        controller.start_over()


def wants_only_the_plan():
    """Whether `plan` is the one target."""
    return set(workflow.dag_settings.targets) == {"plan"}


def run_of(wildcards):
    """The RunSpec of a job's wildcards."""
    return PLAN.run(RUN.format(**wildcards))


def made_of(stage):
    """A function of a job: what makes its outputs out of date, besides its input files.

    One parameter for all of it: each function of each job costs the workflow time.
    """

    def values(wildcards):
        run = run_of(wildcards)
        found = [PLAN.seed, data_version(run), stage_code(stage, run.settings)]
        if stage == "train":  # threads fix the last digits
            return [*found, run.training_settings, PLAN.threads]
        if stage in ("precompute_support", "embed_queries"):
            found.append(run.support_settings)
        else:
            found.append(run.inference_settings)
        if stage == "make_patch":
            return [*found, PLAN.patch]
        if stage == "embed_queries" and wildcards.query_set in ENTRIES:
            others = ENTRIES[wildcards.query_set]
            return [*found, version_of_entry(others), others.choosing()]
        found.append(query_version(run))
        if stage == "explain":
            return [*found, run.explanation_settings, PLAN.explained_queries]
        if stage == "score_correspondences":
            return [*found, run.correspondence_settings]
        return (
            [*found, run.counterfactual_settings]
            if stage == "score_counterfactuals"
            else found
        )

    return values


@cache
def needs_of(stage, dataset, model, attempt, at_once=1):
    """What a job asks of a cluster; thousands of jobs ask for one of a few combinations."""
    return job_needs(PLAN, stage, dataset, model, attempt, at_once, limits())


@cache
def limits():
    """What the cluster has at most, where jobs are submitted to one."""
    executor = workflow.executor_plugin
    submits = executor is not None and executor.common_settings.non_local_exec
    return largest_asked() if submits and workflow.is_main_process else None


def needs(stage, resource):
    """A function of a job: its memory (mem_mb), minutes (runtime) or GPUs (gpu)."""

    def amount(wildcards, attempt):
        return needs_of(stage, wildcards.dataset, wildcards.model, attempt)[resource]

    def amount_of_pack(wildcards, attempt, threads):
        run = PACKS[wildcards.pack].runs[0]
        at_once = threads // PLAN.threads
        return needs_of(stage, run.dataset, run.model, attempt, at_once)[resource]

    return amount_of_pack if stage == "run_pack" else amount


def weights_of(wildcards):
    """The network's file that a run reads: its own or its source's; none where it is a named file."""
    weights = run_of(wildcards).weights
    return [] if weights is None else str(weights)


def frozen_of(wildcards):
    """The network's file of another run that a training is put on."""
    source = run_of(wildcards).source
    return [] if source is None else str(source.weights)


def there(settings):
    """The weights files that models name; a plan can be made without them, and `obstacles` stops anything else."""
    paths = {path for one in settings for path in named_weights(one).values()}
    return sorted(path for path in paths if Path(path).exists())


def pretrained_of(wildcards):
    """The weights files that a run starts from, where its study names any."""
    run = run_of(wildcards)
    owners = [run.settings] + ([run.source.settings] if run.source else [])
    return there(owners)


def patch_of(wildcards):
    """The adversarial patch that a query set's images carry, where they do."""
    name = wildcards.query_set
    carried = name not in ENTRIES and evaluation_set(name).patch
    return str(run_of(wildcards).patch) if carried else []


# Where runs are packed, the study's own jobs see packs only: thousands of runs are hundreds of jobs.
PACKS = {pack.name: pack for pack in packs(PLAN)}
PACK_OF = {run.id: str(pack.path) for pack in PACKS.values() for run in pack.runs}


def pack_version(wildcards):
    """All that makes any file of a pack's runs out of date."""
    runs = PACKS[wildcards.pack].runs
    models = {run.model: PLAN.models[run.model] for run in runs}
    stages = (
        "train",
        "make_patch",
        "precompute_support",
        "embed_queries",
        "evaluate",
        "explain",
        "score_counterfactuals",
        "score_correspondences",
        "show_prototypes",
    )
    code = [
        stage_code(stage, settings) for settings in models.values() for stage in stages
    ]
    made_of = [data_version(runs[0]), query_version(runs[0]), models, code, PLAN.seed]
    others = [ENTRIES[name] for name in asked_of_pack(wildcards)]
    made_of += [[version_of_entry(entry), entry.choosing()] for entry in others]
    more = [PLAN.threads, PLAN.patch, PLAN.explained_queries, PLAN.evaluation_sets]
    return digest([made_of, more, [run.id for run in runs]])


def asked_of_pack(wildcards):
    """The other data sets whose images a pack's runs see."""
    run = PACKS[wildcards.pack].runs[0]
    return PLAN.query_sets(run.dataset) + PLAN.outlier_sets(run.dataset, run.size)


def queries_of_pack(wildcards):
    """Manifests and clean lists of the other data sets whose images a pack's runs see."""
    names = asked_of_pack(wildcards)
    found = [manifest_of_entry(name) for name in names]
    return found + [path for path in map(clean_of_entry, names) if path]


def pretrained_of_pack(wildcards):
    """The weights files that the runs of a pack start from."""
    runs = PACKS[wildcards.pack].runs
    return there([run.settings for run in runs])


def predictions():
    """All predictions of the study, or the packs that make them."""
    if PACKS:
        return [str(pack.path) for pack in PACKS.values()]
    return [str(e.run.predictions(e.mode, e.split)) for e in PLAN.evaluations()]


def outlier_predictions():
    """All predictions for images of no known class, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(e.run.predictions(e.mode, e.split)) for e in PLAN.outliers()]


def counterfactual_files():
    """All scores of counterfactuals of the study, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(run.counterfactuals(split)) for run, split in PLAN.counterfactuals()]


def correspondence_files():
    """All scores of patch pairs of the study, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(run.correspondences(split)) for run, split in PLAN.correspondences()]


def prototype_files():
    """All pictures of prototypes of the study, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(run.prototypes(split)) for run, split in PLAN.prototypes()]


def histories():
    """All training histories of the study, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(run.folder / "history.csv") for run in PLAN.runs() if run.trained]


def records():
    """All run records of the study, or the packs that make them."""
    if PACKS:
        return predictions()
    return [str(run.folder / "run.json") for run in PLAN.runs()]


def responses_of(wildcards):
    """The files of a human study that are there; `obstacles` names the others."""
    entry = PLAN.human_studies[wildcards.responses]
    return [entry[key] for key in FILES if entry[key] and Path(entry[key]).exists()]


def settings_of_responses(wildcards):
    """What an entry says besides its files."""
    return [PLAN.seed, json.dumps(PLAN.human_studies[wildcards.responses])]


def analysed():
    """The numbers of all human studies."""
    return [str(PLAN.human_study(name)) for name in PLAN.human_studies]


def published_files():
    """The published numbers that the study names."""
    return [str(FOLDER / f"{name}.csv") for name in PLAN.published]


def comparison():
    """The files of the comparison with published numbers, where there is one."""
    return (
        [str(path) for path in table_paths(PLAN, "published")] if PLAN.published else []
    )


def report_code():
    """The code of the report, its template included."""
    template = Path(released_tables.__code__.co_filename).with_name("report.html.jinja")
    return [stage_code("write_report"), sha256(template)]


def explanation_of(wildcards):
    """The records that a drawn explanation shows, and the images."""
    found = shown_explanations(PLAN)[wildcards.explanation]
    records = str(found.run.explanations(found.mode, found.split))
    return [
        PACK_OF.get(found.run.id, records),
        str(found.run.data_folder / "manifest.json"),
    ]


def prototypes_of(wildcards):
    """The pictures of prototypes that a figure shows, and the images."""
    found = shown_explanations(PLAN)[wildcards.explanation]
    pictures = str(found.run.prototypes(found.split))
    return [
        PACK_OF.get(found.run.id, pictures),
        str(found.run.data_folder / "manifest.json"),
    ]


def first_modes():
    """The modes by which models stand where a figure shows each model once."""
    return [[name, *settings["modes"][:1]] for name, settings in PLAN.models.items()]


def table_files():
    """All files of all tables."""
    drawn = [
        str(path) for name in table_names(PLAN) for path in table_paths(PLAN, name)
    ]
    return comparison() + drawn


def figure_files():
    """All files of all figures."""
    return [
        str(path) for name in figure_names(PLAN) for path in figure_paths(PLAN, name)
    ]
