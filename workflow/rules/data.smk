# Local: login nodes reach the network, compute nodes often do not.
rule fetch_data:
    output:
        **STUDY.outputs("fetch_data"),
    log:
        STUDY.log("fetch_data"),
    benchmark:
        STUDY.benchmark("fetch_data")
    localrule: True
    params:
        files=STUDY.checksums,
    message:
        "Fetch data set {wildcards.source}"
    shell:
        "lookalike data fetch {wildcards.source}"


# No plan among the parameters: a data set is the same for every study, and another study must not prepare it anew.
rule prepare_data:
    input:
        STUDY.fetched,
    output:
        **STUDY.outputs("prepare_data"),
    log:
        STUDY.log("prepare_data"),
    benchmark:
        STUDY.benchmark("prepare_data")
    threads: lambda wildcards: 8 if STUDY.of_photographs(wildcards) else 1
    resources:
        mem_mb=4000,
        runtime=lambda wildcards: 600 if STUDY.of_photographs(wildcards) else 30,
    params:
        data=lambda wildcards: STUDY.versions[wildcards.prepared],
        source=lambda wildcards: STUDY.prepared[wildcards.prepared].source,
        options=STUDY.prepare_options,
    message:
        "Prepare data set {wildcards.prepared}"
    shell:
        "lookalike data prepare {params.source:q} --options {params.options:q}"


# Each filter of ImageNet's test images leaves what it removed and why.
rule filter_data:
    input:
        STUDY.outputs("prepare_data")["manifest"],
        weights=STUDY.filter_weights,
    output:
        **STUDY.outputs("filter_data"),
    log:
        STUDY.log("filter_data"),
    benchmark:
        STUDY.benchmark("filter_data")
    threads: 8
    resources:
        mem_mb=24000,
        runtime=2880,
    params:
        folder=lambda wildcards, input: os.path.dirname(input[0]),
        weights=lambda wildcards, input: (
            ["--weights", input.weights] if input.weights else []
        ),
        code=STUDY.code("filter_data"),
    message:
        "Filter the test images of {wildcards.prepared}: {wildcards.filter}"
    shell:
        "lookalike data filter {params.folder:q} {wildcards.filter} {params.weights:q}"


rule collect_filters:
    input:
        expand(
            STUDY.outputs("filter_data")["removed"], filter=FILTERS, allow_missing=True
        ),
    output:
        **STUDY.outputs("collect_filters"),
    log:
        STUDY.log("collect_filters"),
    benchmark:
        STUDY.benchmark("collect_filters")
    localrule: True
    params:
        folder=lambda wildcards, output: os.path.dirname(os.path.dirname(output[0])),
        code=STUDY.code("collect_filters"),
    message:
        "Clean test images of {wildcards.prepared}"
    shell:
        "lookalike data collect-filters {params.folder:q}"
