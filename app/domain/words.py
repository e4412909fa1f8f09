"""The words of a text as they are looked up and compared: the same everywhere. Pure."""

import re

LONGEST = 100
"""Characters of a word that count: longer runs are no words, and PostgreSQL takes none above 2,046 bytes."""

# Scripts that put no space between words: each character is a word, and a question of several wants them all.
_TOKEN = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff_]+")


def tokens(content: str) -> list[str]:
    """The words of a text: case folded, letters and digits."""
    return [token[:LONGEST] for token in _TOKEN.findall(content.casefold()) if token.isalnum()]
