from helpers.miniatures import prepare, source  # noqa: F401
