"""Showing a piece of a file to a person, so that what cannot be seen can be."""

WIDTH = 40
"""Characters of the file in an excerpt."""

_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r", chr(0xD80D): "\\r", chr(0xD80A): "\\n"}  # the last two: see lines.py


def visible(text: str) -> str:
    """Text with control, format, private and odd space characters as escapes; a byte that could not be decoded as `\\xE9`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def excerpt(text: str, at: int = 0) -> str:
    """About 40 characters around a place in a text, with `…` where more follows."""
    start = max(0, min(at - WIDTH // 2, len(text) - WIDTH))
    shown = visible(text[start : start + WIDTH].rstrip("\r\n"))
    return ("…" if start else "") + shown + ("…" if text[start + WIDTH :].rstrip("\r\n") else "")


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02X}"
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
