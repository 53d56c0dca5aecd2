"""The ground: nothing here imports another room.

`errors`, `files`, `tensors`, `tensor_store`, `parameter_cache`, `seeds`, `determinism`, `devices`, `locks`,
`processes`, `provenance`.
"""
