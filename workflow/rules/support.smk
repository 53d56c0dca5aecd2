rule make_patch:
    input:
        data=manifest_of,
        weights=weights_of,
        pretrained=pretrained_of,
    output:
        "<run>/patch.safetensors",
    log:
        "<run>/logs/make_patch.log",
    benchmark:
        "<run>/benchmarks/make_patch.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("make_patch", "mem_mb"),
        runtime=needs("make_patch", "runtime"),
        gpu=needs("make_patch", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("make_patch"),
    message:
        "Train an adversarial patch against {wildcards.model} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "lookalike make-patch {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"


# One rule for runs with weights of their own, one for runs on a frozen backbone, which leave their record here.
rule precompute_support:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
    output:
        support="<trained_run>/support/support.safetensors",
        queries=expand(
            "<trained_run>/support/queries@{split}.safetensors",
            split=filter(PLAN.is_with_support, PLAN.evaluation_sets),
            allow_missing=True,
        ),
    log:
        "<run>/logs/precompute_support.log",
    benchmark:
        "<run>/benchmarks/precompute_support.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("precompute_support", "mem_mb"),
        runtime=needs("precompute_support", "runtime"),
        gpu=needs("precompute_support", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("precompute_support"),
    message:
        "Precompute the support of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike precompute-support {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"


use rule precompute_support as precompute_frozen_support with:
    output:
        support="<frozen_run>/support/support.safetensors",
        queries=expand(
            "<frozen_run>/support/queries@{split}.safetensors",
            split=filter(PLAN.is_with_support, PLAN.evaluation_sets),
            allow_missing=True,
        ),
        record="<frozen_run>/run.json",


# Changed images, and another data set's: jobs of their own, so that one more set leaves support and the others alone.
rule embed_queries:
    input:
        data=manifest_of,
        others=manifest_of_queries,
        clean=clean_of_queries,
        weights=weights_of,
        pretrained=pretrained_of,
        patch=patch_of,
        support="<run>/support/support.safetensors",
    output:
        "<run>/support/queries@{query_set}.safetensors",
    log:
        "<run>/logs/embed_queries-{query_set}.log",
    benchmark:
        "<run>/benchmarks/embed_queries-{query_set}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("embed_queries", "mem_mb"),
        runtime=needs("embed_queries", "runtime"),
        gpu=needs("embed_queries", "gpu"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("embed_queries"),
    message:
        "Compare {wildcards.query_set} with the support of {wildcards.model} on {wildcards.dataset}"
        " ({wildcards.size}), seed {wildcards.seed}"
    shell:
        "lookalike embed-queries {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed} --set {wildcards.query_set}"
