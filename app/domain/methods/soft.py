"""What the three soft-prompt methods share: virtual tokens before the input, trained while the model stays as it is."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from app.domain.methods.base import MethodParameters

LEAST_TOKENS = 16
"""Virtual tokens of a soft prompt that starts from no text, or from a shorter one."""
MOST_TOKENS = 1_000
"""What can be asked for; a text that is longer makes more."""


class SoftPrompt(MethodParameters):
    soft: ClassVar[bool] = True
    uncut: ClassVar[str] = "fsdp cannot cut a model under a soft prompt, which is read and saved beside the pieces"
    unmergeable: ClassVar[str] = "A soft prompt is read before the input and changes no weight, so there is nothing to merge into the model."
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {"virtual_tokens": (8, 16, 32)}

    virtual_tokens: int | None = Field(
        None, ge=1, le=MOST_TOKENS, description=f"Length of the soft prompt. Empty: that of the text it starts from, at least {LEAST_TOKENS}."
    )
    keep_text: bool = Field(False, description="Keep the text the soft prompt starts from in the input as well. By default the soft prompt takes its place.")

    init: str = Field("text", description="What the virtual tokens start from.")

    def replaces_text(self, encoder_decoder: bool) -> bool:
        return self.init == "text" and not self.keep_text

    def tokens(self, text_tokens: int) -> int:
        """Virtual tokens of a run whose starting text has so many tokens (0: it starts from no text)."""
        return self.virtual_tokens or max(LEAST_TOKENS, text_tokens)

    def virtual(self, text_tokens: int = 0) -> int:
        return self.tokens(text_tokens)
