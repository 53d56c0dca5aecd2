# Local: login nodes reach the network, compute nodes often do not.
rule fetch_data:
    output:
        "<downloads>/{source}/fetched.json",
    log:
        "<downloads>/{source}/logs/fetch_data.log",
    benchmark:
        "<downloads>/{source}/benchmarks/fetch_data.tsv"
    localrule: True
    params:
        files=lambda wildcards: [f.checksum for f in DATA_SETS[wildcards.source].files],
    message:
        "Fetch data set {wildcards.source}"
    shell:
        "lookalike data fetch {wildcards.source}"


# No plan among the parameters: a data set is the same for every study, and another study must not prepare it anew.
rule prepare_data:
    input:
        fetched_of,
    output:
        manifest="<data>/{prepared}/manifest.json",
        index="<data>/{prepared}/index.parquet",
    log:
        "<data>/{prepared}/logs/prepare_data.log",
    benchmark:
        "<data>/{prepared}/benchmarks/prepare_data.tsv"
    threads:
        lambda wildcards: (
            8 if DATA_SETS[PREPARED[wildcards.prepared].source].form == "files" else 1
        )
    resources:
        mem_mb=4000,
        runtime=lambda wildcards: (
            600
            if DATA_SETS[PREPARED[wildcards.prepared].source].form == "files"
            else 30
        ),
    params:
        data=lambda wildcards: VERSIONS[wildcards.prepared],
        source=lambda wildcards: PREPARED[wildcards.prepared].source,
        options=lambda wildcards: json.dumps(
            PREPARED[wildcards.prepared].prepare_options(), sort_keys=True
        ),
    message:
        "Prepare data set {wildcards.prepared}"
    shell:
        "lookalike data prepare {params.source} --options {params.options:q}"


# Each filter of ImageNet's test images leaves what it removed and why.
rule filter_data:
    input:
        "<data>/{prepared}/manifest.json",
        weights=filter_weights_of,
    output:
        "<data>/{prepared}/filters/{filter}.parquet",
    log:
        "<data>/{prepared}/logs/filter_data-{filter}.log",
    benchmark:
        "<data>/{prepared}/benchmarks/filter_data-{filter}.tsv"
    wildcard_constraints:
        filter="|".join(FILTERS),
    threads: 8
    resources:
        mem_mb=24000,
        runtime=2880,
    params:
        weights=lambda wildcards, input: (
            f"--weights {input.weights}" if input.weights else ""
        ),
        code=stage_code("filter_data"),
    message:
        "Filter the test images of {wildcards.prepared}: {wildcards.filter}"
    shell:
        "lookalike data filter <data>/{wildcards.prepared} {wildcards.filter} {params.weights}"


rule collect_filters:
    input:
        expand(
            "<data>/{prepared}/filters/{filter}.parquet",
            filter=FILTERS,
            allow_missing=True,
        ),
    output:
        "<data>/{prepared}/filters/clean.json",
    log:
        "<data>/{prepared}/logs/collect_filters.log",
    benchmark:
        "<data>/{prepared}/benchmarks/collect_filters.tsv"
    localrule: True
    params:
        code=stage_code("filter_data"),
    message:
        "Clean test images of {wildcards.prepared}"
    shell:
        "lookalike data collect-filters <data>/{wildcards.prepared}"
