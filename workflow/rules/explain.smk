rule explain:
    input:
        **STUDY.run_inputs,
        **STUDY.embedded(),
    output:
        **STUDY.outputs("explain"),
    log:
        STUDY.log("explain"),
    benchmark:
        STUDY.benchmark("explain")
    threads: PLAN.threads
    resources:
        **STUDY.resources("explain"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("explain"),
    message:
        "Explain queries of {wildcards.model} ({wildcards.mode}) on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        f"lookalike explain {{params.plan:q}} {RUN}"
        " --mode {wildcards.mode} --evaluation-set {wildcards.evaluation_set}"


# One rule for all that methods leave beside predictions and explanations: each analysis is a row in its method's room.
rule analyse:
    input:
        **STUDY.run_inputs,
        **STUDY.embedded(),
    output:
        **STUDY.outputs("analyse"),
    log:
        STUDY.log("analyse"),
    benchmark:
        STUDY.benchmark("analyse")
    threads: PLAN.threads
    resources:
        **STUDY.resources("analyse"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("analyse"),
        title=lambda wildcards: STUDY.item("analyse", wildcards).analysis.title,
    message:
        "{params.title} of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        f"lookalike analyse {{params.plan:q}} {RUN}"
        " --analysis {wildcards.analysis} --evaluation-set {wildcards.evaluation_set}"
