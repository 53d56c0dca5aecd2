rule evaluate:
    input:
        data=manifest_of,
        clean=clean_of,
        weights=weights_of,
        pretrained=pretrained_of,
        support="<run>/support/support.safetensors",
        queries="<run>/support/queries@{split}.safetensors",
    output:
        "<run>/eval/{mode}@{split}/predictions.parquet",
    log:
        "<run>/logs/evaluate-{mode}@{split}.log",
    benchmark:
        "<run>/benchmarks/evaluate-{mode}@{split}.tsv"
    threads: PLAN.threads
    resources:
        mem_mb=needs("evaluate", "mem_mb"),
        runtime=needs("evaluate", "runtime"),
    params:
        plan=str(PLAN.path),
        made_of=made_of("evaluate"),
    message:
        "Evaluate {wildcards.model} ({wildcards.mode}) on {wildcards.split} of {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "lookalike evaluate {params.plan}"
        " {wildcards.dataset}/{wildcards.model}/{wildcards.size}/seed{wildcards.seed}"
        " --mode {wildcards.mode} --set {wildcards.split}"


rule collect_metrics:
    input:
        predictions(),
        outlier_predictions(),
    output:
        metrics="<study>/tables/metrics.csv",
        class_metrics="<study>/tables/class_metrics.csv",
        reliability="<study>/tables/reliability.csv",
        outlier_metrics="<study>/tables/outlier_metrics.csv",
    log:
        "<study>/logs/collect_metrics.log",
    benchmark:
        "<study>/benchmarks/collect_metrics.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("collect_metrics"),
    message:
        "Collect the metrics of all evaluations"
    shell:
        "lookalike collect-metrics {params.plan}"


rule analyse_responses:
    input:
        responses_of,
    output:
        "<study>/human_study/{responses}.csv",
        "<study>/human_study/{responses}.json",
    log:
        "<study>/logs/analyse_responses-{responses}.log",
    benchmark:
        "<study>/benchmarks/analyse_responses-{responses}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        settings=settings_of_responses,
        code=stage_code("analyse_responses"),
    message:
        "Analyse human study {wildcards.responses}"
    shell:
        "lookalike analyse-responses {params.plan} {wildcards.responses}"
