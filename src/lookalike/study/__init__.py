"""What a user asks for: the study model, its checks and messages, and the plan that it resolves to.

`model` (the keys), `read` (from YAML, with messages), `checks`, `messages`, `migrate` (files of older versions), `plan`
(runs, evaluations, paths), `evaluation_sets`, `human_studies`, `published` (numbers to compare with), `settings`.
"""
