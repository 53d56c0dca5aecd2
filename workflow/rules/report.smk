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
        baseline=[PLAN.baseline, PLAN.models[PLAN.baseline]["modes"][0]],
        code=stage_code("draw_table"),
    message:
        "Table: models compared on the same queries"
    shell:
        "lookalike draw-table {params.plan} comparison"


rule table_outliers:
    input:
        "<study>/tables/outlier_metrics.csv",
    output:
        csv="<study>/tables/outliers.csv",
        tex="<study>/tables/outliers.tex",
        md=report(
            "<study>/tables/outliers.md",
            category="Tables",
            labels={"table": "another data set's images told apart"},
        ),
    log:
        "<study>/logs/draw_table-outliers.log",
    benchmark:
        "<study>/benchmarks/draw_table-outliers.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: another data set's images told apart"
    shell:
        "lookalike draw-table {params.plan} outliers"


rule table_size:
    input:
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/size.csv",
        tex="<study>/tables/size.tex",
        md=report(
            "<study>/tables/size.md",
            category="Tables",
            labels={"table": "accuracy by number of training images"},
        ),
    log:
        "<study>/logs/draw_table-size.log",
    benchmark:
        "<study>/benchmarks/draw_table-size.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: accuracy by number of training images"
    shell:
        "lookalike draw-table {params.plan} size"


rule table_explanations:
    input:
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/explanations.csv",
        tex="<study>/tables/explanations.tex",
        md=report(
            "<study>/tables/explanations.md",
            category="Tables",
            labels={"table": "explanation accuracy of memories"},
        ),
    log:
        "<study>/logs/draw_table-explanations.log",
    benchmark:
        "<study>/benchmarks/draw_table-explanations.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: explanation accuracy of memories"
    shell:
        "lookalike draw-table {params.plan} explanations"


rule table_non_representativeness:
    input:
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/non_representativeness.csv",
        tex="<study>/tables/non_representativeness.tex",
        md=report(
            "<study>/tables/non_representativeness.md",
            category="Tables",
            labels={"table": "non-representativeness of examples"},
        ),
    log:
        "<study>/logs/draw_table-non_representativeness.log",
    benchmark:
        "<study>/benchmarks/draw_table-non_representativeness.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: non-representativeness of examples"
    shell:
        "lookalike draw-table {params.plan} non_representativeness"


rule table_counterfactuals:
    input:
        counterfactual_files(),
    output:
        csv="<study>/tables/counterfactuals.csv",
        tex="<study>/tables/counterfactuals.tex",
        md=report(
            "<study>/tables/counterfactuals.md",
            category="Tables",
            labels={"table": "plausibility of counterfactuals"},
        ),
    log:
        "<study>/logs/draw_table-counterfactuals.log",
    benchmark:
        "<study>/benchmarks/draw_table-counterfactuals.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: plausibility of counterfactuals"
    shell:
        "lookalike draw-table {params.plan} counterfactuals"


rule table_correspondences:
    input:
        correspondence_files(),
    output:
        csv="<study>/tables/correspondences.csv",
        tex="<study>/tables/correspondences.tex",
        md=report(
            "<study>/tables/correspondences.md",
            category="Tables",
            labels={"table": "how right patch pairs are"},
        ),
    log:
        "<study>/logs/draw_table-correspondences.log",
    benchmark:
        "<study>/benchmarks/draw_table-correspondences.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: how right patch pairs are"
    shell:
        "lookalike draw-table {params.plan} correspondences"


rule table_prototypes:
    input:
        prototype_files(),
        "<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/prototypes.csv",
        tex="<study>/tables/prototypes.tex",
        md=report(
            "<study>/tables/prototypes.md",
            category="Tables",
            labels={"table": "how many prototypes are needed"},
        ),
    log:
        "<study>/logs/draw_table-prototypes.log",
    benchmark:
        "<study>/benchmarks/draw_table-prototypes.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: how many prototypes are needed"
    shell:
        "lookalike draw-table {params.plan} prototypes"


rule table_released:
    input:
        analysed(),
    output:
        csv="<study>/tables/{released_table}.csv",
        tex="<study>/tables/{released_table}.tex",
        md=report(
            "<study>/tables/{released_table}.md",
            category="Human study",
            labels={"table": "{released_table}"},
        ),
    log:
        "<study>/logs/draw_table-{released_table}.log",
    benchmark:
        "<study>/benchmarks/draw_table-{released_table}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_table"),
    message:
        "Table: {wildcards.released_table}"
    shell:
        "lookalike draw-table {params.plan} {wildcards.released_table}"


rule compare:
    input:
        published=published_files(),
        human=analysed(),
        metrics="<study>/tables/metrics.csv",
    output:
        csv="<study>/tables/published.csv",
        tex="<study>/tables/published.tex",
        md=report(
            "<study>/tables/published.md",
            category="Tables",
            labels={"table": "published against reproduced"},
        ),
    log:
        "<study>/logs/compare.log",
    benchmark:
        "<study>/benchmarks/compare.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        names=PLAN.published,
        code=stage_code("compare"),
    message:
        "Compare published numbers with reproduced ones"
    shell:
        "lookalike compare {params.plan}"


rule figure_published:
    input:
        "<study>/tables/published.csv",
    output:
        svg=report(
            "<study>/figures/published.svg",
            category="Figures",
            labels={"figure": "published against reproduced"},
        ),
        pdf="<study>/figures/published.pdf",
        png="<study>/figures/published.png",
    log:
        "<study>/logs/draw_figure-published.log",
    benchmark:
        "<study>/benchmarks/draw_figure-published.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: published against reproduced"
    shell:
        "lookalike draw-figure {params.plan} published"


rule figure_released:
    input:
        analysed(),
    output:
        svg=report(
            "<study>/figures/{released_figure}.svg",
            category="Human study",
            labels={"figure": "{released_figure}"},
        ),
        pdf="<study>/figures/{released_figure}.pdf",
        png="<study>/figures/{released_figure}.png",
    log:
        "<study>/logs/draw_figure-{released_figure}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-{released_figure}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: {wildcards.released_figure}"
    shell:
        "lookalike draw-figure {params.plan} {wildcards.released_figure}"


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
        shown=first_modes(),
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


rule figure_size:
    input:
        "<study>/tables/metrics.csv",
    output:
        svg=report(
            "<study>/figures/size.svg",
            category="Figures",
            labels={"figure": "accuracy by number of training images"},
        ),
        pdf="<study>/figures/size.pdf",
        png="<study>/figures/size.png",
    log:
        "<study>/logs/draw_figure-size.log",
    benchmark:
        "<study>/benchmarks/draw_figure-size.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        shown=first_modes(),
        code=stage_code("draw_figure"),
    message:
        "Figure: accuracy by number of training images"
    shell:
        "lookalike draw-figure {params.plan} size"


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


rule figure_correspondences:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/correspondences-{explanation}.svg",
            category="Figures",
            labels={"figure": "patches that belong together, {explanation}"},
        ),
        pdf="<study>/figures/correspondences-{explanation}.pdf",
        png="<study>/figures/correspondences-{explanation}.png",
    log:
        "<study>/logs/draw_figure-correspondences-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-correspondences-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: patches that belong together, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} correspondences-{wildcards.explanation}"


rule figure_flow:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/flow-{explanation}.svg",
            category="Figures",
            labels={"figure": "correlation of patches, best exemplar, {explanation}"},
        ),
        pdf="<study>/figures/flow-{explanation}.pdf",
        png="<study>/figures/flow-{explanation}.png",
    log:
        "<study>/logs/draw_figure-flow-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-flow-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: correlation of patches, best exemplar, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} flow-{wildcards.explanation}"


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


rule figure_memory:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/memory-{explanation}.svg",
            category="Figures",
            labels={"figure": "memory images used, {explanation}"},
        ),
        pdf="<study>/figures/memory-{explanation}.pdf",
        png="<study>/figures/memory-{explanation}.png",
    log:
        "<study>/logs/draw_figure-memory-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-memory-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: memory images used, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} memory-{wildcards.explanation}"


rule figure_heat_maps:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/heat_maps-{explanation}.svg",
            category="Figures",
            labels={"figure": "integrated gradients, {explanation}"},
        ),
        pdf="<study>/figures/heat_maps-{explanation}.pdf",
        png="<study>/figures/heat_maps-{explanation}.png",
    log:
        "<study>/logs/draw_figure-heat_maps-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-heat_maps-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: integrated gradients, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} heat_maps-{wildcards.explanation}"


rule figure_looks_like:
    input:
        explanation_of,
    output:
        svg=report(
            "<study>/figures/looks_like-{explanation}.svg",
            category="Figures",
            labels={"figure": "prototypes that queries look like, {explanation}"},
        ),
        pdf="<study>/figures/looks_like-{explanation}.pdf",
        png="<study>/figures/looks_like-{explanation}.png",
    log:
        "<study>/logs/draw_figure-looks_like-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-looks_like-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: prototypes that queries look like, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} looks_like-{wildcards.explanation}"


rule figure_prototypes:
    input:
        prototypes_of,
    output:
        svg=report(
            "<study>/figures/prototypes-{explanation}.svg",
            category="Figures",
            labels={"figure": "prototypes and their samples, {explanation}"},
        ),
        pdf="<study>/figures/prototypes-{explanation}.pdf",
        png="<study>/figures/prototypes-{explanation}.png",
    log:
        "<study>/logs/draw_figure-prototypes-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-prototypes-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: prototypes and their samples, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} prototypes-{wildcards.explanation}"


rule figure_between:
    input:
        prototypes_of,
    output:
        svg=report(
            "<study>/figures/between-{explanation}.svg",
            category="Figures",
            labels={"figure": "between two prototypes, {explanation}"},
        ),
        pdf="<study>/figures/between-{explanation}.pdf",
        png="<study>/figures/between-{explanation}.png",
    log:
        "<study>/logs/draw_figure-between-{explanation}.log",
    benchmark:
        "<study>/benchmarks/draw_figure-between-{explanation}.tsv"
    localrule: True
    params:
        plan=str(PLAN.path),
        code=stage_code("draw_figure"),
    message:
        "Figure: between two prototypes, {wildcards.explanation}"
    shell:
        "lookalike draw-figure {params.plan} between-{wildcards.explanation}"


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
        tables=" ".join(f"--table {name}" for name in table_names(PLAN)),
        figures=" ".join(f"--figure {name}" for name in figure_names(PLAN)),
        code=report_code(),
    message:
        "Report"
    shell:
        "lookalike write-report {params.plan} {params.tables} {params.figures}"
