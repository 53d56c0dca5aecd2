"""Networks that turn images into pooled features and a feature map, the invertible ones too.

`registry` has a row a network, `build` makes one and loads its weights, `cost` counts its operations; `small_cnn`,
`resnet_cifar`, `cifar_nets`, `vit_cifar`, `torchvision_nets`, and `flow` (DenseFlow).
"""
