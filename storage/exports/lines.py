"""Lines of JSON that are one line to every reader: `str.splitlines` breaks at characters at which JSONL does not."""

from __future__ import annotations

Bytes = bytes | memoryview

_LINE_BREAKS = {chr(code).encode(): f"\\u{code:04x}".encode() for code in (0x85, 0x2028, 0x2029)}


def one_line(line: bytes) -> bytes:
    """The same JSON with those characters escaped."""
    for found, escaped in _LINE_BREAKS.items():
        line = line.replace(found, escaped)
    return line


def one_line_each(lines: Bytes) -> Bytes:
    """The same of many lines at once."""
    return one_line(bytes(lines)) if has_line_breaks(lines) else lines


def has_line_breaks(lines: Bytes) -> bool:
    """Whether any of them is in there: by their rarest byte, a third of the time of looking for one after the other."""
    import numpy as np

    read = np.frombuffer(lines, np.uint8)
    if not len(read) or read.view(np.int8).min() >= 0:
        return False  # ASCII
    at = np.flatnonzero(read[1:-1] == 0x80)  # U+2028 and U+2029 are E2 80 A8 and E2 80 A9
    if np.any((read[at] == 0xE2) & (read[at + 2] & 0xFE == 0xA8)):
        return True
    at = np.flatnonzero(read[1:] == 0x85)  # U+0085 is C2 85
    return bool(np.any(read[at] == 0xC2))
