"""View code: how a program asks what the Lab asks, over HTTP. Pure: plain values in, text out. Without a server: snippets_local.py.

Each snippet is complete and, at temperature 0, answers as the page does (tests/browser/test_code.py runs them). A text is written as one
literal a line, so that it reads like the prompt and is the prompt.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.generation import Parameters
from app.domain.rendering import Rendered

OPENAI = ("max_tokens", "temperature", "top_p", "seed", "n", "frequency_penalty", "presence_penalty")
"""Parameters that the OpenAI client knows by these names; what else there is travels in `extra_body`."""

SPECIAL = re.compile(r"<[|\uff5c][^<>\s]{1,60}[|\uff5c]>|</?(?:s|bos|eos|pad|unk|mask|think|\w+_of_\w+)>|\[/?(?:INST|CLS|SEP|PAD|MASK|UNK)\]")
"""What may be a special token of some model: <|im_end|>, </s>, [INST]. As a value it stays text on the page, whatever it spells."""


@dataclass(frozen=True)
class Weights:
    """What transformers loads: a model's folder, an adapter's beside it, and what the program has to know about them.

    `folder` and `adapter` are the names of the folders as `/api/v1/models/ID/download` unpacks them.
    """

    folder: str
    folder_id: int
    adapter: str | None = None
    adapter_id: int | None = None
    encoder_decoder: bool = False


@dataclass(frozen=True)
class Asked:
    """One run: the server's address, the model's name there, the prompt's fields, its variables, the text it becomes."""

    address: str
    model: str
    fields: Mapping[str, Any]
    variables: Mapping[str, str]
    rendered: Rendered
    parameters: Parameters
    weights: Weights | None
    tuned: bool = False

    @property
    def given(self) -> dict[str, Any]:
        """The parameters that are not as usual."""
        return self.parameters.model_dump(exclude_defaults=True)

    @property
    def stop(self) -> list[str]:
        """Where an answer stops. One that is held to a form ends with it, unless it was said otherwise."""
        usual = [] if self.parameters.constraint else list(self.rendered.stop)
        return usual if self.parameters.stop is None else self.parameters.stop

    def special(self, *, trusted: bool) -> list[str]:
        """What may be special tokens in the author's text, or in the values."""
        parts = self.rendered.parts or tuple(part for message in self.rendered.messages for part in message.parts)
        return list(dict.fromkeys(found for part in parts if part.trusted is trusted for found in SPECIAL.findall(part.text)))

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": message.role, "content": message.content} for message in self.rendered.messages]


def curl(asked: Asked) -> str:
    """The Lab's own request."""
    # An empty prefix is said: left out, it would be the usual one.
    prompt = {name: value for name, value in asked.fields.items() if name != "parameters" and (value not in ("", [], {}) or name.endswith("_prefix"))}
    body = {"model": asked.model, "prompt": prompt, "variables": dict(asked.variables), "parameters": asked.given}
    return f"""curl {asked.address}/api/v1/generate \\
  -H "Authorization: Bearer $FETTLE_TOKEN" \\
  -H "Content-Type: application/json" \\
  --data-binary @- <<'JSON'
{json.dumps(body, ensure_ascii=False, indent=2)}
JSON
"""


def openai(asked: Asked) -> str:
    """The `openai` client: chat turns as messages, everything else as the text that the model reads."""
    chat = bool(asked.rendered.messages)
    values = asked.parameters.model_dump()
    named: dict[str, Any] = {name: value for name, value in asked.given.items() if name in OPENAI}
    named |= {"max_tokens": values["max_tokens"], "temperature": values["temperature"]}
    if asked.stop or not chat:
        named["stop"] = asked.stop
    extra = {name: value for name, value in asked.given.items() if name not in (*OPENAI, "stop", "logprobs", "json_schema")}
    if (schema := asked.given.get("json_schema")) is not None:
        form = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
        (named if chat else extra).update(form)  # the client knows it of chat completions only
    if chat and asked.tuned:
        extra["raw"] = True  # these turns, not the prompt that the model was tuned through
    named |= {"extra_body": extra} if extra else {}
    what = f"messages={literal(asked.messages)}" if chat else f"prompt={text_literal(asked.rendered.text, 1)}"
    lines = [f"model={literal(asked.model)}", what, *(f"{name}={literal(value)}" for name, value in named.items())]
    call = "".join(f"    {line},\n" for line in lines)
    read = "choice.message.content" if chat else "choice.text"
    forged = [] if chat else asked.special(trusted=False)  # the contents of turns stay text
    note = f"# In this text {', '.join(forged)} may be a special token of the model; on the page, where it is a value, it is not.\n" if forged else ""
    return f"""import os

from openai import OpenAI

{note}client = OpenAI(base_url={literal(asked.address + "/v1")}, api_key=os.environ["FETTLE_TOKEN"])
answer = client.{"chat.completions" if chat else "completions"}.create(
{call})
for choice in answer.choices:
    print({read}.strip())
"""


def literal(value: Any, depth: int = 1) -> str:
    """A plain value as Python writes it, on lines that can be read; `depth` is how far the line that it begins on is indented."""
    pad, long = "    " * (depth + 1), len(repr(value)) > 80
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        pairs = [f"{literal(name)}: {literal(one, depth + 1)}" for name, one in value.items()]
        return "{\n" + "".join(f"{pad}{pair},\n" for pair in pairs) + f"{pad[4:]}}}" if long else "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence):
        items = [literal(one, depth + 1) for one in value]
        return "[\n" + "".join(f"{pad}{item},\n" for item in items) + f"{pad[4:]}]" if long else "[" + ", ".join(items) + "]"
    return repr(value)


def quoted(text: str) -> str:
    """A string literal in double quotes. JSON's escapes are Python's."""
    return json.dumps(text, ensure_ascii=False)


def text_literal(text: str, depth: int) -> str:
    """A long text as one literal a line."""
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return quoted(text)
    pad = "    " * depth
    return "(\n" + "".join(f"{pad}    {quoted(line)}\n" for line in lines) + f"{pad})"
