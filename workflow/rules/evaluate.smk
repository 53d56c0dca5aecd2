rule evaluate:
    input:
        **STUDY.run_inputs,
        **STUDY.embedded(),
    output:
        **STUDY.outputs("evaluate"),
    log:
        STUDY.log("evaluate"),
    benchmark:
        STUDY.benchmark("evaluate")
    threads: PLAN.threads
    resources:
        **STUDY.resources("evaluate"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("evaluate"),
    message:
        "Evaluate {wildcards.model} ({wildcards.mode}) on {wildcards.evaluation_set} of {wildcards.dataset},"
        " seed {wildcards.seed}"
    shell:
        f"lookalike evaluate {{params.plan:q}} {RUN}"
        " --mode {wildcards.mode} --evaluation-set {wildcards.evaluation_set}"


rule collect_metrics:
    input:
        STUDY.files_of("evaluate"),
    output:
        **STUDY.outputs("collect_metrics"),
    log:
        STUDY.log("collect_metrics"),
    benchmark:
        STUDY.benchmark("collect_metrics")
    localrule: True
    params:
        plan=str(PLAN.path),
        code=STUDY.code("collect_metrics"),
    message:
        "Collect the metrics of all evaluations"
    shell:
        "lookalike collect-metrics {params.plan:q}"


rule analyse_human_study:
    input:
        STUDY.human_study_files,
    output:
        **STUDY.outputs("analyse_human_study"),
    log:
        STUDY.log("analyse_human_study"),
    benchmark:
        STUDY.benchmark("analyse_human_study")
    localrule: True
    params:
        plan=str(PLAN.path),
        settings=STUDY.human_study_settings,
        code=STUDY.code("analyse_human_study"),
    message:
        "Analyse human study {wildcards.human_study}"
    shell:
        "lookalike analyse-human-study {params.plan:q} {wildcards.human_study}"
