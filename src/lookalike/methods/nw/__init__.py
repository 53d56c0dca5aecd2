"""The Nadaraya-Watson head and its classifier."""
