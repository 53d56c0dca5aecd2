"""The plain linear head on pooled features: the baseline of all four papers."""
