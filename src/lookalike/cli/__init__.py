"""The command line.

`main` (the app), `stages` (verbs from the stage table), `data` (verbs of data sets), `progress` (a training as it
runs).
"""
