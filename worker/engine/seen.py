"""A prompt as a model's tokenizer gets it, and how much of the model's window it takes. No weights are needed for that."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.domain.rendering import Rendered
from worker.engine import encode
from worker.engine.fit import tokenizer_of, virtual_tokens_of
from worker.engine.load import load_config, window_of


def look(folder: Path, adapter: Path | None, rendered: Rendered, pieces: bool = False) -> dict[str, Any]:
    """{total, parts, template, texts, window}: tokens of all, of each part and of none; with `pieces` the whole text as {text, kind}."""
    tokenizer = tokenizer_of(folder)
    found = asdict(encode.count(tokenizer, rendered)) | {"texts": [part.text for part in rendered.parts], "window": window(folder, adapter)}
    if pieces:
        found["pieces"] = [{"text": text, "kind": kind} for text, kind in encode.pieces(tokenizer, rendered)]
    return found


@lru_cache(maxsize=64)
def window(folder: Path, adapter: Path | None) -> int:
    """The tokens that a model takes at once. Its files never change, so neither does what they say."""
    return window_of(load_config(folder)) - virtual_tokens_of(adapter)
