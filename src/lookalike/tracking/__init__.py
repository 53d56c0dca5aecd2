"""What is left of a run, and where it is shown.

`record` (run.json, the truth), `live` (a training while it runs), `spool` (metrics in a file), `mlflow_mirror`.
"""
