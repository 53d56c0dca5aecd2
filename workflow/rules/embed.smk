rule train_adversarial_patch:
    input:
        **STUDY.run_inputs,
    output:
        **STUDY.outputs("train_adversarial_patch"),
    log:
        STUDY.log("train_adversarial_patch"),
    benchmark:
        STUDY.benchmark("train_adversarial_patch")
    threads: PLAN.threads
    resources:
        **STUDY.resources("train_adversarial_patch"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("train_adversarial_patch"),
    message:
        "Train an adversarial patch against {wildcards.model} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        f"lookalike train-adversarial-patch {{params.plan:q}} {RUN}"


# One rule for runs with weights of their own, one for runs on a frozen backbone, which leave their record here.
rule embed:
    input:
        **STUDY.run_inputs,
    output:
        **STUDY.outputs("embed", TRAINED),
    log:
        STUDY.log("embed"),
    benchmark:
        STUDY.benchmark("embed")
    threads: PLAN.threads
    resources:
        **STUDY.resources("embed"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("embed"),
    message:
        "Embed the support of {wildcards.model} on {wildcards.dataset} ({wildcards.size}), seed {wildcards.seed}"
    shell:
        f"lookalike embed {{params.plan:q}} {RUN}"


use rule embed as embed_frozen with:
    output:
        **STUDY.outputs("embed", FROZEN),
        record=STUDY.record(FROZEN),


# Changed images, and another data set's: jobs of their own, so that one more set leaves support and the others alone.
rule embed_queries:
    input:
        **STUDY.run_inputs,
        foreign=STUDY.foreign,
        patch=STUDY.adversarial_patch,
        support=STUDY.outputs("embed")["support"],
    output:
        **STUDY.outputs("embed_queries"),
    log:
        STUDY.log("embed_queries"),
    benchmark:
        STUDY.benchmark("embed_queries")
    wildcard_constraints:
        evaluation_set=STUDY.later_sets(),
    threads: PLAN.threads
    resources:
        **STUDY.resources("embed_queries"),
    params:
        plan=str(PLAN.path),
        fingerprint=STUDY.fingerprint("embed_queries"),
    message:
        "Compare {wildcards.evaluation_set} with the support of {wildcards.model} on {wildcards.dataset}"
        " ({wildcards.size}), seed {wildcards.seed}"
    shell:
        f"lookalike embed-queries {{params.plan:q}} {RUN} --evaluation-set {{wildcards.evaluation_set}}"
