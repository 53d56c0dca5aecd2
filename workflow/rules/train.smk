rule train:
    input:
        data=STUDY.run_inputs["data"],
        pretrained=STUDY.pretrained,
        frozen=STUDY.frozen,
        tracking=ancient(TRACKING),
    output:
        **STUDY.outputs("train", TRAINED),
    log:
        STUDY.log("train"),
    benchmark:
        STUDY.benchmark("train")
    threads: PLAN.threads
    resources:
        **STUDY.resources("train"),
    # The checkpoint is no output: Snakemake would delete it before a job and after a failure.
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("train"),
    message:
        "Train {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        f"lookalike train --no-progress {{params.plan:q}} {RUN}"


# Many short runs in one job: a Snakemake inside the allocation makes their files, each run with its own jobs and logs.
rule run_job_group:
    input:
        STUDY.group_inputs,
        tracking=ancient(TRACKING),
    output:
        **STUDY.outputs("run_job_group"),
    log:
        STUDY.log("run_job_group"),
    benchmark:
        STUDY.benchmark("run_job_group")
    threads: RUNS_AT_ONCE * PLAN.threads
    resources:
        **STUDY.resources("run_job_group"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint_of_group,
    message:
        "Run job group {wildcards.job_group}"
    shell:
        "lookalike run-job-group {params.plan:q} {wildcards.job_group} --cores {threads}"
