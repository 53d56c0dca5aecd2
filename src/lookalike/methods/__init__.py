"""The classifiers, one file or folder each."""
