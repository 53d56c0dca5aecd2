"""What a study shows: `catalogue` (declarations of tables and figures), their content, and the report.

`tables` and `figures` (a module each, and their declarations), `run_tables` (tables that methods declare), `drawing`
(explanations), `published` (verdicts), `html` (the report), `collect` (metrics of all predictions), `summaries`,
`human_study_cells` and `panels` (what they share), `style` and `writing` (how files look).
"""
