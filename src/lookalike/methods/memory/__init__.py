"""Random memories of training images: what Memory Wrap and the few-shot classifiers it is compared with decide by.

`classifier` (draws of memories, training and inference with them), `settings`.
"""
