"""Names and passwords inside addresses: taken out of whatever is written down."""

from __future__ import annotations

import re

_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@'\"]{1,200}@", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Text whose addresses name no user and no password.

    Args:
        text: Any text, such as the message of an error of MLflow.

    Example:
        >>> from lookalike.core.credentials import without_credentials
        >>> without_credentials("cannot reach postgresql://me:secret@host/db")
        'cannot reach postgresql://host/db'
    """
    return _IN_ADDRESS.sub(r"\1", text)
