"""What each job does: open everything once, call pure functions, write once.

A module a stage, of the name that its rule, its log and its verb have; `task` (what a stage of a run is given) and
`opening` (what it opens). Stages of data live in their own room.
"""
