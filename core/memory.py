"""How much of a machine's memory something that is kept for speed alone may take."""

from __future__ import annotations

import os

UNKNOWN = 4 << 30  # of a system that does not say how much it has


def share(part: int, most: int) -> int:
    """Bytes: one `part`-th of the machine's memory, at most `most`."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        whole = UNKNOWN
    return min(most, whole // part)
