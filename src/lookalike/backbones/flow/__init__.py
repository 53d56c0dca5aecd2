"""DenseFlow, an invertible network (Grcić, Grubišić and Šegvić, NeurIPS 2021, arXiv 2106.04627).

`dense_flow` puts it together from `blocks`, `layers`, `nets` and `dequantize`; `backbone` is how methods see it,
`density` a loss, `arguments` reads the settings of the authors' trainings.
"""
