"""The classifiers, a room each, and what several of them share.

`registry` has a row a method. `memory` and `reranking` are bases, `build` puts network and head together, `embedding`
passes images through a network, `drawing` has the drawing that most methods have, `analysis_input` is what analyses
read.
"""
