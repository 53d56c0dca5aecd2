"""A warm process that has torch loaded and forks one child a job, and the small client that asks it.

`server` is that process, `client` imports nothing that takes long.
"""
