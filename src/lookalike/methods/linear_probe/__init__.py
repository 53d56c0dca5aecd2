"""A linear layer on a frozen network: the ResNet-50 baseline of the visual-correspondence paper."""
