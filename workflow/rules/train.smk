rule train:
    input:
        data=manifest_of,
        pretrained=pretrained_of,
        tracking=ancient(f"results/tracking/init_tracking-{PLAN.study}.json"),
    output:
        weights="<trained_run>/model.safetensors",
        history="<trained_run>/history.csv",
        record="<trained_run>/run.json",
    log:
        "<run>/logs/train.log",
    benchmark:
        "<run>/benchmarks/train.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=2000,
        runtime=60,
    # The checkpoint is no output: Snakemake would delete it before a job and after a failure.
    params:
        plan=str(PLAN.path),
        seed=PLAN.seed,
        data=data_version,
        settings=training_settings,
        threads=PLAN.threads,  # part of what fixes the last digits
        code=code_of("train"),
    message:
        "Train {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike train --no-progress {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
