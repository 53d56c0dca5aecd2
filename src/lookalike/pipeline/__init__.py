"""How a study is run: its stages, what is out of date, the jobs, and what they ask of a machine.

`stage_table` (the stages), `fingerprint` (what makes a result out of date), `jobs`, `job_groups`, `resources`,
`workflow` (what the rules call), `study_file` (the study of a command), `study_lock` (one controller a study),
`dry_run`, `status`, `job_log`, `cost`, `network_costs`, `stage_runner`, `stop_forwarding`, `smoke`, `bundle`, `server`
(a warm process that runs jobs), `check` (whether the declarations fit), `reference` (the docs' tables).
"""
