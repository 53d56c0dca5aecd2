"""The human study: people judge whether a classifier is right, with and without an explanation."""
