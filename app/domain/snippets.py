"""View code: how a program asks what the Lab asks. Pure: plain values in, text out.

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

TRANSFORMERS = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "repetition_penalty": "repetition_penalty", "n": "num_return_sequences"}
SAMPLING = ("temperature", "top_p", "top_k")

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
    if schema := asked.given.get("json_schema"):
        named["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    if chat and asked.tuned:
        extra["raw"] = True  # these turns, not the prompt that the model was tuned through
    named |= {"extra_body": extra} if extra else {}
    what = f"messages={_literal(asked.messages)}" if chat else f"prompt={_text(asked.rendered.text, 1)}"
    lines = [f"model={_literal(asked.model)}", what, *(f"{name}={_literal(value)}" for name, value in named.items())]
    call = "".join(f"    {line},\n" for line in lines)
    read = "answer.choices[0].message.content" if chat else "answer.choices[0].text"
    forged = [] if chat else asked.special(trusted=False)  # the contents of turns stay text
    note = f"# In this text {', '.join(forged)} may be a special token of the model; on the page, where it is a value, it is not.\n" if forged else ""
    return f"""import os

from openai import OpenAI

{note}client = OpenAI(base_url={_literal(asked.address + "/v1")}, api_key=os.environ["FETTLE_TOKEN"])
answer = client.{"chat.completions" if chat else "completions"}.create(
{call})
print({read}.strip())
"""


def transformers(asked: Asked) -> str:
    """transformers, and peft for an adapter: no server at all. Raises KeyError for nothing; what generate() has no word for is said in a comment."""
    weights = asked.weights
    if weights is None:
        return ""
    kind = "AutoModelForSeq2SeqLM" if weights.encoder_decoder else "AutoModelForCausalLM"
    chat = bool(asked.rendered.messages)
    imports = ["import torch", *(["from peft import PeftModel"] if weights.adapter else []), f"from transformers import {kind}, AutoTokenizer"]
    load = f"model = {kind}.from_pretrained(folder, dtype=dtype)"
    adapter = [f"model = PeftModel.from_pretrained(model, {_literal(weights.adapter)})"] if weights.adapter else []
    if chat:
        told = [
            f"messages = {_literal(asked.messages)}",
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True).to(device)',
        ]
    else:
        told = [f"prompt = {_text(asked.rendered.text, 0)}", f'inputs = tokenizer(prompt, return_tensors="pt"{_split(asked)}).to(device)']
    settings = "".join(f"    {name}={value},\n" for name, value in _generate(asked).items())
    cut = "ids[0]" if weights.encoder_decoder else 'ids[0, inputs["input_ids"].shape[1] :]'
    lines = [
        *imports,
        "",
        *_fetching(asked.address, weights),
        f"folder = {_literal(weights.folder)}",
        'device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        load,
        *adapter,
        "model = model.to(device).eval()",
        "",
        *told,
        *_unsaid(asked),
        *([f"torch.manual_seed({asked.parameters.seed})"] if asked.parameters.seed is not None and asked.parameters.temperature else []),
        "with torch.no_grad():",
        f"    ids = model.generate(\n        **inputs,\n{_indented(settings)}    )",
        f"text = tokenizer.decode({cut}, skip_special_tokens=True)",
        *(["for stop in stops:", "    text = text.split(stop)[0]"] if asked.stop else []),
        "print(text.strip())",
    ]
    return "\n".join(lines) + "\n"


def _split(asked: Asked) -> str:
    """Values are text, whatever they spell. The tokenizer can only be told so of all of a text."""
    if asked.rendered.messages:  # apply_chat_template cannot be told at all
        return ""
    return ", split_special_tokens=True" if asked.special(trusted=False) and not asked.special(trusted=True) else ""


def _indented(settings: str) -> str:
    return "".join(f"    {line}\n" for line in settings.splitlines())


def _fetching(address: str, weights: Weights) -> list[str]:
    """Where the folders come from."""
    ask = f'curl -H "Authorization: Bearer $FETTLE_TOKEN" -o model.zip {address}/api/v1/models/{{}}/download && python -m zipfile -e model.zip {{}}'
    lines = ["# The weights, once:", f"#   {ask.format(weights.folder_id, weights.folder)}"]
    return lines + ([f"#   {ask.format(weights.adapter_id, weights.adapter)}"] if weights.adapter else [])


def _generate(asked: Asked) -> dict[str, str]:
    """The arguments of generate()."""
    values = asked.parameters.model_dump()
    named = {theirs: repr(values[ours]) for ours, theirs in TRANSFORMERS.items() if ours == "max_tokens" or ours in asked.given}
    named["do_sample"] = repr(values["temperature"] > 0)
    if values["temperature"] > 0:
        named |= {name: repr(values[name]) for name in SAMPLING}
    if asked.stop:
        named |= {"stop_strings": "stops", "tokenizer": "tokenizer"}
    return named | {"pad_token_id": "tokenizer.eos_token_id"}


def _unsaid(asked: Asked) -> list[str]:
    """The stop sequences, and a comment on what generate() cannot do."""
    known = {*TRANSFORMERS, *SAMPLING, "stop", "seed"}
    missing = [name for name in asked.given if name not in known]
    lines = [f"stops = {_literal(asked.stop)}"] if asked.stop else []
    forged = [] if _split(asked) else asked.special(trusted=False)
    lines += [f"# {', '.join(forged)} may be a special token here; on the page, where it is a value, it is not."] if forged else []
    return lines + ([f"# generate() has no {', '.join(missing)}: answers differ from the page's."] if missing else [])


def _literal(value: Any) -> str:
    """A plain value as Python writes it, on lines that can be read."""
    if isinstance(value, Mapping) and len(repr(value)) > 80:
        inner = "".join(f"        {_literal(name)}: {_literal(one)},\n" for name, one in value.items())
        return f"{{\n{inner}    }}"
    if isinstance(value, Sequence) and not isinstance(value, str) and len(repr(value)) > 80:
        return "[\n" + "".join(f"        {_literal(one)},\n" for one in value) + "    ]"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(one)}" for name, one in value.items()) + "}"
    return "[" + ", ".join(map(_literal, value)) + "]" if isinstance(value, Sequence) else repr(value)


def _quoted(text: str) -> str:
    """A string literal in double quotes. JSON's escapes are Python's."""
    return json.dumps(text, ensure_ascii=False)


def _text(text: str, depth: int) -> str:
    """A long text as one literal a line."""
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return _quoted(text)
    pad = "    " * depth
    return "(\n" + "".join(f"{pad}    {_quoted(line)}\n" for line in lines) + f"{pad})"
