"""DenseFlow: the normalizing flow below ProtoFlow."""
