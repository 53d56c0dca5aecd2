"""EMD-Corr: re-rank nearest neighbours by optimal transport between patches."""
