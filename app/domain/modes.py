"""One prompt in another mode: structured, freeform and chat turned into each other, as far as each can say it. Pure.

What a mode cannot say is not dropped: `base` is the prompt as it last stood in that mode, and gives what the other one has no words for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.rendering import TOKEN, Mode, Shot, Template, answer_text, literal, substitute, variables

Turn = tuple[str, str]

INPUT = "{input}"
SPEAKERS = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Converted:
    """A prompt in its new mode. `input` is the text that stood where the new mode has a variable; `kept` says what only the old mode can show."""

    template: Template
    input: str | None = None
    kept: str = ""


@dataclass(frozen=True)
class Talk:
    """A chat taken apart: system turns, finished exchanges without variables, the question, and whatever comes after it."""

    system: Sequence[Turn]
    exchanges: Sequence[tuple[str, str]]
    question: str | None
    rest: Sequence[Turn]

    @property
    def instruction(self) -> str:
        return "\n\n".join(content for _, content in self.system)


def convert(template: Template, mode: Mode, base: Template | None = None) -> Converted:
    """The prompt in another mode. Declared variables go with it."""
    ways = {
        ("structured", "freeform"): _free_of_structured, ("structured", "chat"): _chat_of_structured, ("freeform", "structured"): _structured_of_free,
        ("freeform", "chat"): _chat_of_free, ("chat", "structured"): _structured_of_chat, ("chat", "freeform"): _free_of_chat,
    }  # fmt: skip
    way = ways.get((template.mode, mode))
    if way is None:
        return Converted(template)
    found = way(template, base or Template(mode))
    return replace(found, template=replace(found.template, defaults=template.defaults))


def _free_of_structured(template: Template, base: Template) -> Converted:
    """The same text, with the shots written out."""
    del base
    prefix = template.input_prefix + (" " if template.input_prefix and not template.input_prefix[-1].isspace() else "")
    lead = ("\n" + template.output_prefix).rstrip()
    text = template.instruction.rstrip() + "\n\n" if template.instruction.strip() else ""
    for shot in template.shots:
        text += prefix + literal(shot.input) + lead + answer_text(template, literal(shot.output)) + "\n\n"
    return Converted(Template("freeform", text=f"{text}{prefix}{INPUT}\n{template.output_prefix}"))


def _structured_of_free(template: Template, base: Template) -> Converted:
    """The line with the last {input} is what every input stands in, what comes before it the instruction, what follows the output prefix."""
    place = next((match for match in reversed([*TOKEN.finditer(template.text)]) if match[2] == "input"), None)
    if place is None:
        return Converted(replace(base, mode="structured", instruction=template.text.rstrip(), shots=()))
    start = template.text.rfind("\n", 0, place.start()) + 1
    prefix, after = template.text[start : place.start()], template.text[place.end() :]
    if prefix.endswith(" ") and prefix.strip():
        prefix = prefix[:-1]
    return Converted(Template("structured", template.text[:start].rstrip(), prefix, after.removeprefix("\n")))


def _chat_of_structured(template: Template, base: Template) -> Converted:
    """Instruction as system turn, shots as exchanges, the input as the question. Prefixes are for raw text and stay behind."""
    old = apart(base.messages)
    system = old.system if old.instruction == template.instruction else [("system", template.instruction)] if template.instruction.strip() else []
    turns = [*system]
    for shot in template.shots:
        turns += [("user", literal(shot.input)), ("assistant", literal(shot.output))]
    if old.question is not None or not old.rest:
        turns.append(("user", old.question if old.question and variables(old.question) else INPUT))
    plain = Template()
    prefixes = (template.input_prefix, template.output_prefix) != (plain.input_prefix, plain.output_prefix)
    return Converted(Template("chat", messages=(*turns, *old.rest)), kept="the prefixes" if prefixes else "")


def _structured_of_chat(template: Template, base: Template) -> Converted:
    """System turns as instruction, finished exchanges as shots, the question as the input."""
    talk = apart(template.messages)
    shots = tuple(Shot(_plain(asked), _plain(answered)) for asked, answered in talk.exchanges)
    asks = talk.question if talk.question and variables(talk.question) else None
    kept = [f"{len(talk.rest)} {'turn' if len(talk.rest) == 1 else 'turns'} after the question"] if talk.rest else []
    kept += ["the words around the question's variables"] if asks not in (None, INPUT) else []
    found = replace(base, mode="structured", instruction=talk.instruction, shots=shots)
    return Converted(found, _plain(talk.question) if talk.question and asks is None else None, " and ".join(kept))


def _chat_of_free(template: Template, base: Template) -> Converted:
    del base
    return Converted(Template("chat", messages=(("user", template.text),) if template.text else ()))


def _free_of_chat(template: Template, base: Template) -> Converted:
    """A single question as it is; of a talk, every turn under its speaker's name."""
    del base
    talk = apart(template.messages)
    turns = template.messages[len(talk.system) :]
    if len(turns) == 1 and talk.question is not None:
        said = talk.question
    else:
        said = "\n\n".join(f"{SPEAKERS[role]}: {content}" if role in SPEAKERS else content for role, content in turns)
        said += "\n\nAssistant:" if turns and turns[-1][0] == "user" else ""
    return Converted(Template("freeform", text="\n\n".join(part for part in (talk.instruction, said) if part)))


def apart(turns: Sequence[Turn]) -> Talk:
    """A chat's turns by what they do. An exchange counts as finished when a question follows it."""
    start = next((at for at, (role, _) in enumerate(turns) if role != "system"), len(turns))
    exchanges, at = list[tuple[str, str]](), start
    while [role for role, _ in turns[at : at + 3]] == ["user", "assistant", "user"] and not variables(turns[at][1] + turns[at + 1][1]):
        exchanges.append((turns[at][1], turns[at + 1][1]))
        at += 2
    question = turns[at][1] if turns[at : at + 1] and turns[at][0] == "user" else None
    return Talk(turns[:start], exchanges, question, turns[at + (question is not None) :])


def _plain(text: str) -> str:
    """A text without variables as it reads."""
    return "".join(part.text for part in substitute(text, {}))
