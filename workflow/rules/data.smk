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
        plan=str(PLAN.path),
        version=lambda wildcards: data_version(wildcards.dataset),
        code=lambda wildcards: stage_code("prepare_data", dataset=wildcards.dataset),
    message:
        "Prepare data set {wildcards.dataset}"
    shell:
        "lookalike prepare-data {params.plan} {wildcards.dataset}"
