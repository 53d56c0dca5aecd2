rule explain:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
        support="<run>/support/support.safetensors",
        queries="<run>/support/queries@{split}.safetensors",
    output:
        "<run>/explain/{mode}@{split}.parquet",
    log:
        "<run>/logs/explain-{mode}@{split}.log",
    benchmark:
        "<run>/benchmarks/explain-{mode}@{split}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("explain", "mem_mb"),
        runtime=needs("explain", "runtime"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("explain"),
    message:
        "Explain queries of {wildcards.model} ({wildcards.mode}) on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "lookalike explain {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --mode {wildcards.mode} --set {wildcards.split}"
