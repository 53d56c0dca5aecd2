# One rule a table and a figure, all local: small files in, seconds, no GPU.


rule table_accuracy:
    input:
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/accuracy.csv",
        tex="<study>/tables/accuracy.tex",
        md=report(
            "<study>/tables/accuracy.md",
            category="Tables",
            labels={"table": "accuracy and ECE by model and mode"},
        ),
    log:
        "<study>/logs/draw_table-accuracy.log",
    benchmark:
        "<study>/benchmarks/draw_table-accuracy.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: accuracy and ECE by model and mode"
    shell:
        "lookalike draw-table {params.plan} accuracy"


rule table_calibration:
    input:
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/calibration.csv",
        tex="<study>/tables/calibration.tex",
        md=report(
            "<study>/tables/calibration.md",
            category="Tables",
            labels={"table": "calibration and likelihood"},
        ),
    log:
        "<study>/logs/draw_table-calibration.log",
    benchmark:
        "<study>/benchmarks/draw_table-calibration.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: calibration and likelihood"
    shell:
        "lookalike draw-table {params.plan} calibration"


rule table_per_class:
    input:
        "<study>/tables/class_metrics.csv",
    output:
        csv="<study>/tables/per_class.csv",
        tex="<study>/tables/per_class.tex",
        md=report(
            "<study>/tables/per_class.md",
            category="Tables",
            labels={"table": "accuracy by class"},
        ),
    log:
        "<study>/logs/draw_table-per_class.log",
    benchmark:
        "<study>/benchmarks/draw_table-per_class.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: accuracy by class"
    shell:
        "lookalike draw-table {params.plan} per_class"


rule table_comparison:
    input:
        predictions(),
    output:
        csv="<study>/tables/comparison.csv",
        tex="<study>/tables/comparison.tex",
        md=report(
            "<study>/tables/comparison.md",
            category="Tables",
            labels={"table": "models compared on the same queries"},
        ),
    log:
        "<study>/logs/draw_table-comparison.log",
    benchmark:
        "<study>/benchmarks/draw_table-comparison.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        baseline=PLAN.baseline,
        code=stage_code("draw_table"),
    message:
        "Table: models compared on the same queries"
    shell:
        "lookalike draw-table {params.plan} comparison"


rule figure_accuracy:
    input:
        "<study>/tables/metrics.csv",
    output:
        svg=report(
            "<study>/figures/accuracy.svg",
            category="Figures",
            labels={"figure": "accuracy and ECE by model and mode"},
        ),
        pdf="<study>/figures/accuracy.pdf",
        png="<study>/figures/accuracy.png",
    log:
        "<study>/logs/draw_figure-accuracy.log",
    benchmark:
        "<study>/benchmarks/draw_figure-accuracy.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: accuracy and ECE by model and mode"
    shell:
        "lookalike draw-figure {params.plan} accuracy"


rule figure_reliability:
    input:
        "<study>/tables/reliability.csv",
    output:
        svg=report(
            "<study>/figures/reliability.svg",
            category="Figures",
            labels={"figure": "reliability diagrams"},
        ),
        pdf="<study>/figures/reliability.pdf",
        png="<study>/figures/reliability.png",
    log:
        "<study>/logs/draw_figure-reliability.log",
    benchmark:
        "<study>/benchmarks/draw_figure-reliability.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: reliability diagrams"
    shell:
        "lookalike draw-figure {params.plan} reliability"


rule figure_learning_curves:
    input:
        histories(),
    output:
        svg=report(
            "<study>/figures/learning_curves.svg",
            category="Figures",
            labels={"figure": "learning curves"},
        ),
        pdf="<study>/figures/learning_curves.pdf",
        png="<study>/figures/learning_curves.png",
    log:
        "<study>/logs/draw_figure-learning_curves.log",
    benchmark:
        "<study>/benchmarks/draw_figure-learning_curves.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: learning curves"
    shell:
        "lookalike draw-figure {params.plan} learning_curves"


rule figure_weights:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/weights-{explanation}.svg",
            category="Figures",
            labels={"figure": "heaviest training images, {explanation}"},
        ),
        pdf="<study>/figures/weights-{explanation}.pdf",
        png="<study>/figures/weights-{explanation}.png",
    log:
        "<study>/logs/draw_figure-weights-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-weights-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: heaviest training images, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} weights-{wildcards.explanation}"


rule figure_influence:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/influence-{explanation}.svg",
            category="Figures",
            labels={
                "figure": "most helpful and harmful training images, {explanation}"
            },
        ),
        pdf="<study>/figures/influence-{explanation}.pdf",
        png="<study>/figures/influence-{explanation}.png",
    log:
        "<study>/logs/draw_figure-influence-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-influence-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: most helpful and harmful training images, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} influence-{wildcards.explanation}"


rule write_report:
    input:
        tables=table_files(),
        figures=figure_files(),
        records=records(),
    output:
        report("<study>/report.html", category="Report"),
    log:
        "<study>/logs/write_report.log",
    benchmark:
        "<study>/benchmarks/write_report.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        title=PLAN.title,
        tables=" ".join(f"--table {name}" for name in table_names()),
        figures=" ".join(f"--figure {name}" for name in figure_names(PLAN)),
        code=stage_code("write_report"),
    message:
        "Report"
    shell:
        "lookalike write-report {params.plan} {params.tables} {params.figures}"
