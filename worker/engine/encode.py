"""The only place where a rendered prompt becomes token ids.

Cells (untrusted parts) never produce a special token; the author's text and the chat template may. The text of all parts is
joined, cut only where a special token stands inside trusted text, and each stretch is encoded with the tokenizer's added tokens
taken out, so that merges still cross the borders of cells. Nothing here changes the tokenizer, so any thread may call it.
"""

import json
import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer

from app.domain.rendering import Message, Part, Rendered
from app.errors import Invalid

Span = tuple[int, int]
Token = tuple[int, int]
"""A token id and the place in the text where it begins."""


@dataclass(frozen=True)
class Count:
    """Tokens of a prompt as the model sees it: `parts` in the order of the rendered parts (of all turns, in chat mode)."""

    total: int
    parts: tuple[int, ...]
    template: int
    """Tokens no part accounts for: the beginning-of-text token and the chat template."""


def encode_prompt(tokenizer: Any, rendered: Rendered) -> list[int]:
    """Token ids of the prompt. Raises Invalid when the tokenizer or its chat template cannot express it."""
    return [token for token, _ in _prompt(tokenizer, rendered)[0]]


def encode_answer(tokenizer: Any, rendered: Rendered, answer: str, *, end: bool) -> list[int]:
    """Token ids of an answer as they follow the prompt's ids; with `end`, the token by which the model ends its turn."""
    codec = _codec(tokenizer)
    ids = [token for token, _ in codec.ordinary(codec.inside, answer)]
    return [*ids, end_token(tokenizer, rendered)] if end else ids


def encode_pair(tokenizer: Any, rendered: Rendered) -> tuple[list[int], list[int]]:
    """(prompt ids, answer ids with the end token) of a training example."""
    if rendered.answer is None:
        raise Invalid("no_answer", "A training example needs an answer.", "Give the example an output.")
    return encode_prompt(tokenizer, rendered), encode_answer(tokenizer, rendered, rendered.answer, end=True)


def encode_labels(tokenizer: Any, rendered: Rendered, labels: Sequence[str], *, end: bool | None = None) -> list[list[int]]:
    """Token ids of answers that are compared by likelihood. With `end` None, the end token counts only where one label begins another.

    A model that has learnt its format from shots expects the next line after an answer, not the end of its turn: asking for the
    end token makes labels differ by what has nothing to do with them (docs/decisions/0007).
    """
    bare = [encode_answer(tokenizer, rendered, label, end=False) for label in labels]
    # In order, what begins with a label stands right behind it.
    ambiguous = any(after[: len(one)] == one for one, after in pairwise(sorted(bare)))
    if ambiguous if end is None else end:
        return [encode_answer(tokenizer, rendered, label, end=True) for label in labels]
    return bare


def end_token(tokenizer: Any, rendered: Rendered) -> int:
    """The id that ends an answer: in chat mode what the chat template writes after the assistant's turn, else the tokenizer's end token."""
    codec = _codec(tokenizer)
    if rendered.messages and codec.turn_end is not None:
        return codec.turn_end
    if tokenizer.eos_token_id is None:
        raise Invalid("no_end_token", "The model's tokenizer names no end token.", "Set `eos_token` in its tokenizer_config.json.")
    return int(tokenizer.eos_token_id)


def count(tokenizer: Any, rendered: Rendered) -> Count:
    """How many tokens each part of a prompt costs. A token belongs to the part in which it begins."""
    tokens, owners = _prompt(tokenizer, rendered)
    parts = [0] * (sum(len(message.parts) for message in rendered.messages) or len(rendered.parts))
    starts = [start for (start, _), _ in owners]
    for _, at in tokens:
        (_, stop), owner = owners[bisect_right(starts, at) - 1] if at >= 0 and owners else ((0, 0), None)
        if owner is not None and at < stop:
            parts[owner] += 1
    return Count(len(tokens), tuple(parts), len(tokens) - sum(parts))


def pieces(tokenizer: Any, rendered: Rendered) -> list[tuple[str, str]]:
    """The whole text of a prompt as the model gets it, cut into (text, kind): `special` tokens, the chat `template`'s own words, what the `author`
    wrote, and values in a `cell`."""
    codec = _codec(tokenizer)
    parts, owners = _chat_parts(tokenizer, rendered.messages) if rendered.messages else (rendered.parts, range(len(rendered.parts)))
    kinds = ["template" if owner is None else "author" if part.trusted else "cell" for part, owner in zip(parts, owners, strict=True)]
    text, spans = "".join(part.text for part in parts), list(zip(_spans(parts), kinds, strict=True))
    specials = codec.specials(parts)
    found: list[tuple[str, str]] = []
    if codec.bos is not None and not rendered.messages and not (specials and specials[0][0] == 0 and specials[0][2] == codec.bos):
        found.append((tokenizer.convert_ids_to_tokens(codec.bos), "special"))
    at = 0
    for start, stop, _ in [*specials, (len(text), len(text), 0)]:
        found += [(text[max(at, a) : min(start, b)], kind) for (a, b), kind in spans if max(at, a) < min(start, b)]
        found += [(text[start:stop], "special")] if start < stop else []
        at = stop
    if codec.closing is not None and not rendered.messages:
        found.append((tokenizer.convert_ids_to_tokens(codec.closing), "special"))
    return found


def lengths(tokenizer: Any, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Tokens of each text by itself, read as plain text: what a cell costs in a prompt, give or take one at its edges; and how many of them are unknown."""
    codec = _codec(tokenizer)
    found = [encoding.ids for encoding in codec.first.encode_batch_fast(list(texts), add_special_tokens=False)]
    return [len(ids) for ids in found], [ids.count(codec.unknown) if codec.unknown is not None else 0 for ids in found]


def _prompt(tokenizer: Any, rendered: Rendered) -> tuple[list[Token], list[tuple[Span, int | None]]]:
    """Tokens of a prompt, and which stretch of its text belongs to which part (None: to the chat template)."""
    codec = _codec(tokenizer)
    if rendered.messages:
        parts, owners = _chat_parts(tokenizer, rendered.messages)
        return codec.tokens(parts), list(zip(_spans(parts), owners, strict=True))
    tokens = codec.tokens(rendered.parts)
    if codec.bos is not None and (not tokens or tokens[0][0] != codec.bos):
        tokens.insert(0, (codec.bos, -1))
    if codec.closing is not None:
        tokens.append((codec.closing, sum(len(part.text) for part in rendered.parts)))
    return tokens, list(zip(_spans(rendered.parts), range(len(rendered.parts)), strict=True))


def _spans(parts: Iterable[Part]) -> list[Span]:
    spans, at = [], 0
    for part in parts:
        spans.append((at, at + len(part.text)))
        at += len(part.text)
    return spans


@dataclass(frozen=True)
class _Codec:
    """One tokenizer taken apart: its plain text pipeline, and its added tokens aside."""

    first: Tokenizer
    """For text at the very beginning."""
    after_special: Tokenizer
    """For text right after a special token."""
    inside: Tokenizer
    """For text that goes on after other text: nothing is put before it."""
    added: dict[str, AddedToken]
    ids: dict[str, int]
    pattern: re.Pattern[str]
    bos: int | None
    closing: int | None
    turn_end: int | None
    unknown: int | None
    reserved: frozenset[int]

    def tokens(self, parts: Sequence[Part]) -> list[Token]:
        text = "".join(part.text for part in parts)
        tokens: list[Token] = []
        at = 0
        for start, stop, token in self._specials(parts, text):
            tokens += self._stretch(text, at, start)
            tokens.append((token, start))
            at = stop
        return tokens + self._stretch(text, at, len(text))

    def specials(self, parts: Sequence[Part]) -> list[tuple[int, int, int]]:
        """(start, stop, id) of every special token in the text of all parts."""
        return self._specials(parts, "".join(part.text for part in parts))

    def _stretch(self, text: str, start: int, stop: int) -> list[Token]:
        backend = self.first if start == 0 else self.after_special
        return [(token, start + at) for token, at in self.ordinary(backend, text[start:stop])]

    def _specials(self, parts: Sequence[Part], text: str) -> list[tuple[int, int, int]]:
        """(start, stop, id) of every added token written inside trusted text, with the white space it swallows."""
        found: list[tuple[int, int, int]] = []
        at = 0
        for trusted, group in groupby(parts, key=lambda part: part.trusted):
            stretch = "".join(part.text for part in group)
            for match in self.pattern.finditer(stretch) if trusted and self.ids else ():
                token = self.added[match[0]]
                start, stop = at + match.start(), at + match.end()
                if token.lstrip:
                    start = max(len(text[:start].rstrip()), found[-1][1] if found else 0)
                if token.rstrip:
                    stop = len(text) - len(text[stop:].lstrip())
                if not found or start >= found[-1][1]:
                    found.append((start, stop, self.ids[match[0]]))
            at += len(stretch)
        return found

    def ordinary(self, backend: Tokenizer, text: str) -> list[Token]:
        """Plain text as tokens, none of them special, whatever the text spells."""
        if not text:
            return []
        encoding = backend.encode(text, add_special_tokens=False)
        tokens = [(token, start) for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True)]
        forged = [start for token, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True) if self._is_forged(token, text[start:stop])]
        if not forged:
            return tokens
        if len(text) == 1:
            return []
        # Some vocabularies hold a special token as an ordinary piece: cut inside it, and what is left is plain text again.
        cuts = sorted({0, len(text), *(min(start + 1, len(text) - 1) for start in forged)})
        pieces = [(start, text[start:stop]) for start, stop in pairwise(cuts)]
        return [(token, start + at) for start, piece in pieces for token, at in self.ordinary(self.inside if start else backend, piece)]

    def _is_forged(self, token: int, text: str) -> bool:
        """Whether plain text gave a reserved id. A character the vocabulary lacks gives the unknown token, which is no forgery."""
        return token in self.reserved and (token != self.unknown or self.ids.get(text.strip()) == token)


_codecs: "WeakKeyDictionary[Any, _Codec]" = WeakKeyDictionary()
_lock = threading.Lock()


def _codec(tokenizer: Any) -> _Codec:
    with _lock:
        if tokenizer not in _codecs:
            _codecs[tokenizer] = _take_apart(tokenizer)
        return _codecs[tokenizer]


def _take_apart(tokenizer: Any) -> _Codec:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise Invalid("unsupported_tokenizer", "The model's tokenizer is not in the `tokenizers` format.", "Use a model that comes with a tokenizer.json.")
    spec = json.loads(backend.to_str()) | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    first, after_special, inside = (json.dumps(spec | change) for change in ({}, _unprefixed(spec, {"first"}), _unprefixed(spec, {"first", "always"})))
    plain = {text: Tokenizer.from_str(text) for text in {first, after_special, inside}}
    ids = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    return _Codec(
        first=plain[first],
        after_special=plain[after_special],
        inside=plain[inside],
        added={token.content: token for token in tokenizer.added_tokens_decoder.values()},
        ids=ids,
        pattern=re.compile("|".join(re.escape(text) for text in sorted(ids, key=len, reverse=True)) or "(?!)"),
        bos=_own_bos(tokenizer),
        closing=_own_eos(tokenizer),
        turn_end=_turn_end(tokenizer, ids),
        unknown=tokenizer.unk_token_id,
        reserved=frozenset(ids.values()),
    )


def _unprefixed(spec: dict[str, Any], schemes: set[str]) -> dict[str, Any]:
    """The pipeline with the steps disarmed that put a blank before text: those of the schemes named, `always` being every one."""

    def disarm(step: Any) -> Any:
        if not isinstance(step, dict):
            return step
        step = {key: [disarm(inner) for inner in value] if isinstance(value, list) else value for key, value in step.items()}
        kind = step.get("type")
        if kind == "Metaspace" and step.get("prepend_scheme") in schemes:
            return step | {"prepend_scheme": "never"}
        if kind == "ByteLevel" and "always" in schemes:
            return step | {"add_prefix_space": False}
        if kind == "Prepend" and "always" in schemes:
            return {"type": "Sequence", "normalizers": []}
        return step

    return {name: disarm(spec[name]) for name in ("normalizer", "pre_tokenizer")}


def _own_bos(tokenizer: Any) -> int | None:
    """The beginning-of-text token, if this tokenizer puts it before text by itself."""
    with_specials = tokenizer("a", add_special_tokens=True)["input_ids"]
    return tokenizer.bos_token_id if with_specials and with_specials[0] == tokenizer.bos_token_id else None


def _own_eos(tokenizer: Any) -> int | None:
    """The end token, if this tokenizer closes a text with it by itself, as those of encoder-decoders do."""
    with_specials = tokenizer("a", add_special_tokens=True)["input_ids"]
    return tokenizer.eos_token_id if with_specials and with_specials[-1] == tokenizer.eos_token_id else None


def _turn_end(tokenizer: Any, ids: dict[str, int]) -> int | None:
    """The special token the chat template writes after an assistant's turn, if it writes one."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "xyzzy"}]
    try:
        tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition("xyzzy")[2].lstrip()
    except TemplateError:
        return None
    return next((ids[text] for text in sorted(ids, key=len, reverse=True) if tail.startswith(text)), None)


def _chat_parts(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[Part], list[int | None]]:
    """The chat template's text with the turns' parts in their places, and whose part each is (None: the template's own text)."""
    if not tokenizer.chat_template:
        raise Invalid("no_chat_template", "This model has no chat template.", "Use a structured or freeform prompt, or an instruction-tuned model.")
    marks = _marks([message.content for message in messages])
    turns = []
    for message, mark in zip(messages, marks, strict=True):
        core = message.content.strip()
        # White space at the edges stays outside the mark, so that a template that trims its turns trims these too.
        turns.append({"role": message.role, "content": message.content.replace(core, mark, 1) if core else message.content})
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise Invalid("chat_template_refused", f"The model's chat template refuses these turns: {error}", "Change the roles or their order.") from error
    parts: list[Part] = []
    owners: list[int | None] = []
    for piece in re.split("(" + "|".join(marks) + ")", text):
        turn = marks.index(piece) if piece in marks else None
        before = sum(len(message.parts) for message in messages[:turn])
        inner = [Part(piece, trusted=True)] if turn is None else _core(messages[turn].parts)
        parts += inner
        owners += [None if turn is None else before + index for index in range(len(inner))]
    return parts, owners


def _marks(contents: Sequence[str]) -> list[str]:
    """One word for each turn, such as no turn contains."""
    stem = "fettleturn"
    while any(stem in content for content in contents):
        stem += "n"
    return [f"{stem}{index}x" for index in range(len(contents))]


def _core(parts: Sequence[Part]) -> list[Part]:
    """A turn's parts without the white space at the turn's edges; the number of parts stays the same."""
    text = "".join(part.text for part in parts)
    start, stop = len(text) - len(text.lstrip()), len(text.rstrip())
    return [Part(text[max(a, start) : min(b, stop)], part.trusted) for part, (a, b) in zip(parts, _spans(parts), strict=True)]
