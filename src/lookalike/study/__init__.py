"""What a user asks for: the study model, its checks and messages, and the plan that it resolves to.

`model` (the keys), `yaml_file` (the one reader of YAML), `read` (a study
of it, with messages), `checks`, `messages`, `migrate` (files of older versions), `plan`
(runs, evaluations, paths), `evaluation_sets`, `human_studies`, `published` (numbers to compare with), `settings`.
"""
