"""Errors that a user can mend: one sentence that names the file or key, what is wrong and what to do."""


class LookalikeError(Exception):
    """Shown to the user as one sentence, without a traceback."""
