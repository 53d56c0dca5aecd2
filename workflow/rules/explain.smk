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
        gpu=needs("explain", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("explain"),
    message:
        "Explain queries of {wildcards.model} ({wildcards.mode}) on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "lookalike explain {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --mode {wildcards.mode} --set {wildcards.split}"


rule score_counterfactuals:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
        support="<run>/support/support.safetensors",
        queries="<run>/support/queries@{split}.safetensors",
    output:
        "<run>/counterfactuals/{split}.parquet",
    log:
        "<run>/logs/score_counterfactuals-{split}.log",
    benchmark:
        "<run>/benchmarks/score_counterfactuals-{split}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("score_counterfactuals", "mem_mb"),
        runtime=needs("score_counterfactuals", "runtime"),
        gpu=needs("score_counterfactuals", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("score_counterfactuals"),
    message:
        "Score counterfactuals of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike score-counterfactuals {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --set {wildcards.split}"


rule score_correspondences:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
        support="<run>/support/support.safetensors",
        queries="<run>/support/queries@{split}.safetensors",
    output:
        "<run>/correspondences/{split}.parquet",
    log:
        "<run>/logs/score_correspondences-{split}.log",
    benchmark:
        "<run>/benchmarks/score_correspondences-{split}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("score_correspondences", "mem_mb"),
        runtime=needs("score_correspondences", "runtime"),
        gpu=needs("score_correspondences", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("score_correspondences"),
    message:
        "Score patch pairs of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike score-correspondences {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --set {wildcards.split}"


rule show_prototypes:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
        support="<run>/support/support.safetensors",
        queries="<run>/support/queries@{split}.safetensors",
    output:
        "<run>/prototypes/{split}.safetensors",
    log:
        "<run>/logs/show_prototypes-{split}.log",
    benchmark:
        "<run>/benchmarks/show_prototypes-{split}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("show_prototypes", "mem_mb"),
        runtime=needs("show_prototypes", "runtime"),
        gpu=needs("show_prototypes", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("show_prototypes"),
    message:
        "Show the prototypes of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike show-prototypes {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --set {wildcards.split}"
