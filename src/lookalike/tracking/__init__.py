"""Run records on disk and their mirror in MLflow."""
