# Before anything logs: MLflow creates its tables without a lock, and processes that start at once would collide.
rule init_tracking:
    output:
        **STUDY.outputs("init_tracking"),
    log:
        STUDY.log("init_tracking"),
    benchmark:
        STUDY.benchmark("init_tracking")
    localrule: True
    params:
        plan=str(PLAN.path),
    message:
        "Create the MLflow database"
    shell:
        "lookalike init-tracking {params.plan:q}"


rule sync_tracking:
    input:
        STUDY.files_of("compare"),
        tracking=ancient(TRACKING),
        records=STUDY.records(),
        histories=STUDY.files_of("train", "history"),
        metrics=STUDY.outputs("collect_metrics")["metrics"],
        tables=STUDY.files_of("draw_table"),
        figures=STUDY.files_of("draw_figure"),
    output:
        **STUDY.outputs("sync_tracking"),
    log:
        STUDY.log("sync_tracking"),
    benchmark:
        STUDY.benchmark("sync_tracking")
    localrule: True
    params:
        plan=str(PLAN.path),
    message:
        "Mirror the study in MLflow"
    shell:
        "lookalike sync-tracking {params.plan:q}"
