# Before anything logs: MLflow creates its tables without a lock, and processes that start at once would collide.
rule init_tracking:
    output:
        f"results/tracking/init_tracking-{PLAN.study}.json",
    log:
        f"results/tracking/init_tracking-{PLAN.study}.log",
    benchmark:
        f"results/{PLAN.study}/benchmarks/init_tracking.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
    message:
        "Create the MLflow database"
    shell:
        "lookalike init-tracking {params.plan} 2> {log}"


rule sync_tracking:
    input:
        tracking=ancient(f"results/tracking/init_tracking-{PLAN.study}.json"),
        records=records(),
        histories=histories(),
        metrics="<study>/tables/metrics.csv",
        tables=table_files(),
        figures=figure_files(),
    output:
        f"results/tracking/sync_tracking-{PLAN.study}.json",
    log:
        f"results/tracking/sync_tracking-{PLAN.study}.log",
    benchmark:
        f"results/{PLAN.study}/benchmarks/sync_tracking.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
    message:
        "Mirror the study in MLflow"
    shell:
        "lookalike sync-tracking {params.plan} 2> {log}"
