# Lookalike: one command from images to tables, figures and tracked runs.
#
#   snakemake                                               the default study, config.yaml
#   snakemake --config study=workflow/studies/NAME.yaml     another study
#   snakemake plan | data | tables | figures | report       parts of it
#
# A study is named and not loaded by Snakemake, whose loader runs what a template in a YAML file asks for.
from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/tracking.smk"


rule all:
    default_target: True
    input:
        STUDY.files_of("compare"),
        STUDY.files_of("draw_table"),
        STUDY.files_of("draw_figure"),
        STUDY.files_of("write_report"),
        STUDY.files_of("sync_tracking"),
    localrule: True


rule plan:
    log:
        str(PLAN.folder / "logs" / "plan.log"),
    localrule: True
    params:
        study=STUDY_FILE,
    message:
        "What the study will do"
    shell:
        "lookalike plan {params.study:q} 2> {log:q}"


rule data:
    input:
        STUDY.files_of("prepare_data", "manifest"),
    localrule: True


rule tables:
    input:
        STUDY.files_of("compare"),
        STUDY.files_of("draw_table"),
    localrule: True


rule figures:
    input:
        STUDY.files_of("draw_figure"),
    localrule: True


rule report:
    input:
        STUDY.files_of("write_report"),
    localrule: True


# Nothing runs for hours to end at data that a person must fetch, or beside another controller of the same study.
onstart:
    stop_at_missing_data()
    lock_study()


# Never "done" where a file is missing, whatever ended earlier runs.
onsuccess:
    try:
        study_lock.check_targets(workflow.dag.targetjobs)
    except LookalikeError as error:
        sys.exit(f"error: {error}")


# What failed, a line each; what did finish is mirrored too, and what was killed is marked.
onerror:
    shell(f"lookalike status --failed {PLAN_PATH} || true")
    shell(f"lookalike sync-tracking {PLAN_PATH} > /dev/null 2>&1 || true")
