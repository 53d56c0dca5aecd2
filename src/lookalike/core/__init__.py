"""The ground: nothing here imports another room.

`errors`, `credentials`, `files`, `finite`, `tables`, `tensors`, `tensor_store`, `parameter_cache`, `seeds`,
`determinism`, `devices`, `locks`, `processes`, `provenance`.
"""
