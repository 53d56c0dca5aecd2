# All local: small files in, seconds, no GPU. The catalogue says which tables and figures there are.


rule draw_table:
    input:
        STUDY.drawn_from,
    output:
        **STUDY.reported("draw_table", "md"),
    log:
        STUDY.log("draw_table"),
    benchmark:
        STUDY.benchmark("draw_table")
    localrule: True
    params:
        plan=str(PLAN.path),
        version=STUDY.drawing_version,
        caption=STUDY.caption,
    message:
        "Table: {params.caption}"
    shell:
        "lookalike draw-table {params.plan:q} {wildcards.table}"


rule draw_figure:
    input:
        STUDY.drawn_from,
    output:
        **STUDY.reported("draw_figure", "svg"),
    log:
        STUDY.log("draw_figure"),
    benchmark:
        STUDY.benchmark("draw_figure")
    localrule: True
    params:
        plan=str(PLAN.path),
        version=STUDY.drawing_version,
        caption=STUDY.caption,
    message:
        "Figure: {wildcards.figure}"
    shell:
        "lookalike draw-figure {params.plan:q} {wildcards.figure}"


rule compare:
    input:
        published=STUDY.published_files(),
        human_studies=STUDY.files_of("analyse_human_study", "numbers"),
        metrics=STUDY.outputs("collect_metrics")["metrics"],
    output:
        **STUDY.outputs("compare"),
    log:
        STUDY.log("compare"),
    benchmark:
        STUDY.benchmark("compare")
    localrule: True
    params:
        plan=str(PLAN.path),
        names=PLAN.published,
        code=STUDY.code("compare"),
    message:
        "Compare published numbers with reproduced ones"
    shell:
        "lookalike compare {params.plan:q}"


rule write_report:
    input:
        STUDY.files_of("compare"),
        tables=STUDY.files_of("draw_table"),
        figures=STUDY.files_of("draw_figure"),
        records=STUDY.records(),
    output:
        report(STUDY.outputs("write_report")["page"], category="Report"),
    log:
        STUDY.log("write_report"),
    benchmark:
        STUDY.benchmark("write_report")
    localrule: True
    params:
        plan=str(PLAN.path),
        version=STUDY.report_version(),
    message:
        "Write the report"
    shell:
        "lookalike write-report {params.plan:q}"
