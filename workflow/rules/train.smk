rule train:
    input:
        data=manifest_of,
        pretrained=pretrained_of,
        frozen=frozen_of,
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
        mem_mb=needs("train", "mem_mb"),
        runtime=needs("train", "runtime"),
        gpu=needs("train", "gpu"),
    # The checkpoint is no output: Snakemake would delete it before a job and after a failure.
    params:
        plan=str(PLAN.path),
        made_of=made_of("train"),
    message:
        "Train {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike train --no-progress {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"


# Many short runs in one job: a Snakemake inside the allocation makes their files, each run with its own jobs and logs.
rule run_pack:
    input:
        data=lambda wildcards: manifest_of(PACKS[wildcards.pack].runs[0]),
        clean=lambda wildcards: clean_of(PACKS[wildcards.pack].runs[0]),
        others=queries_of_pack,
        pretrained=pretrained_of_pack,
        tracking=ancient(f"results/tracking/init_tracking-{PLAN.study}.json"),
    output:
        "<study>/packs/{pack}.json",
    log:
        "<study>/logs/run_pack-{pack}.log",
    benchmark:
        "<study>/benchmarks/run_pack-{pack}.tsv"
    threads: RUNS_AT_ONCE * PLAN.threads
    resources:
        mem_mb=needs("run_pack", "mem_mb"),
        runtime=needs("run_pack", "runtime"),
        gpu=needs("run_pack", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=pack_version,
    message:
        "Run pack {wildcards.pack}"
    shell:
        "lookalike run-pack {params.plan} {wildcards.pack} --cores {threads}"
