"""k nearest neighbours on frozen features: the kNN classifier of Nguyen et al., NeurIPS 2022."""
