"""The one template path: a prompt template and an example in, the text (or messages) a model reads out.

Pure: no database, no tokenizer. `worker/engine/encode.py` turns the result into token ids, and nothing else does.

A variable is `{name}`, name = [A-Za-z_][A-Za-z0-9_]*; `{{name}}` is a literal `{name}`; every other brace is literal;
values are never scanned again. White space between prompt and answer belongs to the answer ("Label:" + " positive"),
because that is how subword tokenizers cut text.
"""

import re
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.domain.variables import advice, braced
from app.errors import Invalid

Mode = Literal["structured", "freeform", "chat"]

LABELS = "labels"
"""The variable that a dataset's label book fills (`label_list`). It is the same before every input, as literal text is."""

TOKEN = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Part:
    """A stretch of text. `trusted` text was written by the prompt's author and may hold special tokens; a cell may not."""

    text: str
    trusted: bool


@dataclass(frozen=True)
class Shot:
    """One worked example inside a prompt."""

    input: str
    output: str


@dataclass(frozen=True)
class Message:
    """One chat turn; `parts` joined is its content."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def content(self) -> str:
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Template:
    """A prompt version as plain values. Which fields count depends on `mode`.

    `defaults` are the variables it declares, each with the text that stands in for a missing value; an empty text stands in for none. What stands
    `between` the input and the output prefix of a structured prompt, and whether its instruction comes `last`, after the shots, is the same in every
    prompt version: only a reliability check varies it (`prompt_form.py`).
    """

    mode: Mode = "structured"
    instruction: str = ""
    input_prefix: str = "Input:"
    output_prefix: str = "Output:"
    shots: tuple[Shot, ...] = ()
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    between: str = "\n"
    last: bool = False

    def with_shots(self, shots: Iterable[Shot]) -> "Template":
        return replace(self, shots=tuple(shots))


@dataclass(frozen=True)
class Rendered:
    """What a model reads (`parts`, or `messages` in chat mode), the answer wanted of it, and where generation stops by default."""

    parts: tuple[Part, ...] = ()
    messages: tuple[Message, ...] = ()
    answer: str | None = None
    stop: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        """The prompt as one string; chat turns are shown as `role: content` (the model sees its own chat template)."""
        if self.messages:
            return "\n".join(f"{message.role}: {message.content}" for message in self.messages)
        return "".join(part.text for part in self.parts)

    @property
    def bare(self) -> bool:
        """Whether it is raw text that ends with a word: that is gone on with by a space, which is no part of the answer."""
        return not self.messages and not self.text[-1:].isspace()


DEFAULT = Template()
"""The prompt recorded for a job that names none: `Input: {input}` newline `Output:`."""


def variables(text: str) -> tuple[str, ...]:
    """The names of the variables in a text, each once, in the order of their first use."""
    return tuple(dict.fromkeys(match[2] for match in TOKEN.finditer(text) if match[2]))


def template_variables(template: Template) -> tuple[str, ...]:
    """Every variable a template needs. A structured template always reads `input`."""
    fields: Sequence[str]
    if template.mode == "structured":
        fields = ("{input}", template.instruction, template.input_prefix, template.output_prefix)
    elif template.mode == "freeform":
        fields = (template.text,)
    else:
        fields = tuple(content for _, content in template.messages)
    return tuple(dict.fromkeys(name for text in fields for name in variables(text)))


def read_of(template: Template, values: Mapping[str, str]) -> str:
    """What a prompt reads of a row, as one text: the values of its variables in their order, a line each; `{labels}` is nothing of the row's. What looks
    at rows without asking a model (the linear baseline, the candidates of many labels) so sees as much of them as the model does."""
    names = [name for name in template_variables(template) if name != LABELS]
    return "\n".join(text for name in names or ["input"] if (text := values.get(name, "")))


def filled(template: Template, values: Mapping[str, str]) -> Mapping[str, str]:
    """The values with the template's defaults for those that are missing: not there, or empty."""
    given = {name: text for name, text in template.defaults if text and not values.get(name)}
    return ChainMap(given, values) if given else values  # type: ignore[arg-type]  # nobody writes into it


def unknown(template: Template, names: Iterable[str]) -> tuple[str, ...]:
    """The variables that a template reads and that neither the data nor its own defaults have."""
    known = {*names, *(name for name, text in template.defaults if text)}
    return tuple(name for name in template_variables(template) if name not in known)


def check(template: Template, names: Iterable[str]) -> None:
    """Refuse a template that reads a variable the data does not have. Raises Invalid naming the variables that exist, the nearest first."""
    names, declared = set(names), {name for name, _ in template.defaults}
    missing = unknown(template, names)
    if missing and declared.issuperset(missing):
        raise Invalid("no_value", f"{' and '.join(braced(missing))} of the prompt has no value here and no default.", "Give it a value, or a default.")
    if missing:
        missing = tuple(name for name in missing if name not in declared)
        raise Invalid("unknown_variable", f"The prompt uses {', '.join(braced(missing))}, which the data does not have.", advice(missing, names | declared))


def substitute(text: str, values: Mapping[str, str]) -> tuple[Part, ...]:
    """Cut a text into the author's parts (trusted) and the values put in (untrusted). Raises Invalid for an unknown name."""
    parts: list[Part] = []
    at = 0
    for match in TOKEN.finditer(text):
        literal = text[at : match.start()]
        if match[1]:
            literal += "{" + match[1] + "}"
        if literal:
            parts.append(Part(literal, trusted=True))
        if match[2]:
            if match[2] not in values:
                raise Invalid("unknown_variable", f"The prompt uses {{{match[2]}}}, which has no value.", advice([match[2]], set(values)))
            parts.append(Part(values[match[2]], trusted=False))
        at = match.end()
    if text[at:]:
        parts.append(Part(text[at:], trusted=True))
    return tuple(parts)


def render(template: Template, values: Mapping[str, str], answer: str | None = None) -> Rendered:
    """The prompt for one example, with the answer as the model should write it (leading white space included).

    Raises Invalid when the template reads a variable that neither `values` nor its defaults have.
    """
    values = filled(template, values)
    if template.mode == "structured":
        return _structured(template, values, answer)
    if template.mode == "freeform":
        parts = substitute(template.text.rstrip(), values)
        return Rendered(parts, answer=None if answer is None else answer_text(template, answer), stop=("\n\n",))
    messages = tuple(Message(role, substitute(content, values)) for role, content in template.messages)  # type: ignore[arg-type]
    return Rendered(messages=messages, answer=answer)


def blank(template: Template) -> Rendered:
    """The prompt without any row's values: what all rows have of it."""
    return render(template, dict.fromkeys(template_variables(template), ""))


def _structured(template: Template, values: Mapping[str, str], answer: str | None) -> Rendered:
    if "input" not in values:
        raise Invalid("unknown_variable", "A structured prompt needs a value for {input}.", "Name a column `input`, or use a freeform prompt.")
    parts: list[Part] = []
    opening = [*substitute(template.instruction.rstrip(), values), Part("\n\n", trusted=True)] if template.instruction.strip() else []
    if not template.last:
        parts += opening
    prefix, lead = substitute(template.input_prefix, values), substitute(_lead(template).rstrip(), values)
    gap = " " if template.input_prefix and not template.input_prefix[-1].isspace() else ""
    for shot in template.shots:
        parts += [*prefix, Part(gap, True), Part(shot.input, False), *lead, Part(answer_text(template, shot.output), False), Part("\n\n", True)]
    if template.last:
        parts += opening
    parts += [*prefix, Part(gap, True), Part(values["input"], False), *lead]
    first = template.input_prefix.strip().split("{")[0]
    stop = ("\n" + first,) if first else ("\n\n",)
    return Rendered(tuple(part for part in parts if part.text), answer=None if answer is None else answer_text(template, answer), stop=stop)


def sections(template: Template, values: Mapping[str, str]) -> tuple[str, ...]:
    """What each part of a rendered prompt belongs to: `instruction`, `shot 1` and so on, or `input`; `turn 1` and so on; a freeform one is all `text`."""
    values = filled(template, values)
    rendered = render(template, values)
    if template.mode == "chat":
        return tuple(f"turn {number}" for number, message in enumerate(rendered.messages, 1) for _ in message.parts)
    parts = len(rendered.parts)
    if template.mode != "structured":
        return ("text",) * parts
    bare = replace(template, instruction="", shots=())
    own = len(_structured(bare, values, None).parts)
    shots = [len(_structured(bare.with_shots([shot]), values, None).parts) - own for shot in template.shots]
    named = [name for number, size in enumerate(shots, 1) for name in [f"shot {number}"] * size]
    return (*["instruction"] * (parts - own - len(named)), *named, *["input"] * own)


def answer_text(template: Template, answer: str) -> str:
    """An answer as it follows the prompt: with the white space that separates them, which belongs to the answer."""
    if template.mode == "chat":
        return answer
    lead = _lead(template)
    return (lead[len(lead.rstrip()) :] or " ") + answer


def _lead(template: Template) -> str:
    """The author's text that an answer follows."""
    return template.between + template.output_prefix if template.mode == "structured" else template.text


def without_opening(template: Template) -> Template:
    """The template without the text that is the same before every input: the part a soft prompt can take the place of.

    That is the instruction, a freeform text's lines before the first one with a variable, or the system turns; a text with variables
    in it (`{labels}` aside) is not the same for every input and stays. Shots are examples, not wording, and stay as well.
    """
    if template.mode == "structured":
        return template if set(variables(template.instruction)) - {LABELS} else replace(template, instruction="")
    if template.mode == "freeform":
        first = next((match for match in TOKEN.finditer(template.text) if match[2] != LABELS), None)
        start = template.text.rfind("\n", 0, first.start()) + 1 if first else 0
        return replace(template, text=template.text[start:])
    turns = list(template.messages)
    while len(turns) > 1 and turns[0][0] == "system" and not set(variables(turns[0][1])) - {LABELS}:
        turns.pop(0)
    return replace(template, messages=tuple(turns))


def with_opening(template: Template, text: str) -> Template:
    """The template with a text (taken literally) put before every input, when it has no opening of its own."""
    if without_opening(template) != template or not text:
        return template
    if template.mode == "structured":
        return replace(template, instruction="\n\n".join(part for part in (literal(text), template.instruction) if part))
    if template.mode == "freeform":
        return replace(template, text=f"{literal(text)}\n\n{template.text}")
    return replace(template, messages=(("system", literal(text)), *template.messages))


def label_list(labels: Iterable[tuple[str, str]]) -> str:
    """What `{labels}` stands for: the display texts in one line, or one a line where any has a description ("refund: money back")."""
    pairs = list(labels)
    if any(description for _, description in pairs):
        return "\n".join(f"{display}: {description}" if description else display for display, description in pairs)
    return ", ".join(display for display, _ in pairs)


def literal(text: str) -> str:
    """A text that renders to itself: each `{name}` in it becomes `{{name}}`."""
    return TOKEN.sub(lambda match: "{" + match[0] + "}", text)
