# No plan among the parameters: a data set is the same for every study, and another study must not prepare it anew.
rule prepare_data:
    output:
        manifest="<data>/{dataset}/manifest.json",
        index="<data>/{dataset}/index.parquet",
        images="<data>/{dataset}/images.npy",
    log:
        "<data>/{dataset}/logs/prepare_data.log",
    benchmark:
        "<data>/{dataset}/benchmarks/prepare_data.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        data=data_version,
    message:
        "Prepare data set {wildcards.dataset}"
    shell:
        "lookalike prepare-data {wildcards.dataset}"
