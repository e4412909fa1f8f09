"""The form of a prompt: what changes how it looks and not what it says. Pure.

Models answer differently when a colon or a capital letter changes (Sclar et al. 2024, "FormatSpread", arXiv 2310.11324). A form is drawn from a grammar after
theirs: how field names are written, what follows them, what stands between the fields, whether the instruction comes before or after the shots, and how
`{labels}` are listed. The words of the instruction, the shots and the rows stay as they are.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.generation import Parameters
from app.domain.label_book import LabelBook
from app.domain.rendering import LABELS, Rendered, Template, render, template_variables
from app.domain.shots import place

CASINGS: Mapping[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "title": str.title}
SEPARATORS = (": ", " : ", ":: ", "::: ", " - ", " = ", ":\n", "\t", " ")
BETWEEN = ("\n", "\n\t", "; \n", " || ", " -- ", " ")
LISTED = {"semicolons": "; ", "bars": " | ", "slashes": " / ", "lines": "\n"}
"""How labels are listed, with what stands between two of them."""


class Form(BaseModel):
    """One way of writing a prompt; what is None stays as the prompt has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    casing: Literal["upper", "lower", "title"] | None = Field(None, description="How field names are written.")
    separator: str | None = Field(None, max_length=10, description="What follows a field name.")
    between: str | None = Field(None, max_length=10, description="What stands between input and output field of a structured prompt.")
    last: bool = Field(False, description="Whether the instruction comes after the shots.")
    labels: Literal["semicolons", "bars", "slashes", "lines"] | None = Field(None, description="How the labels are listed.")

    def as_json(self) -> dict[str, Any]:
        """What differs from the prompt's own form."""
        return self.model_dump(exclude_defaults=True)

    @property
    def words(self) -> str:
        """The form in a line; a line break is written as \u21b5, a tab as \u21e5."""
        said = [
            {"upper": "field names in capitals", "lower": "field names in small letters", "title": "Field Names Capitalised"}.get(self.casing or "", ""),
            f"\u201c{_seen(self.separator)}\u201d after them" if self.separator is not None else "",
            f"\u201c{_seen(self.between)}\u201d between fields" if self.between is not None else "",
            "instruction after the shots" if self.last else "",
            {"lines": "labels one a line"}.get(self.labels, f"labels listed with {self.labels}") if self.labels else "",
        ]
        return ", ".join(word for word in said if word) or "as the prompt is"

    def applied(self, template: Template) -> Template:
        """The template in this form. How labels are listed is a matter of their values (`listed`)."""
        if template.mode == "chat":
            return replace(template, messages=tuple((role, self._rewritten(text)) for role, text in template.messages))
        if template.mode == "freeform":
            return replace(template, text=self._rewritten(template.text))
        between = template.between if self.between is None else self.between
        prefixes = self._field(template.input_prefix), self._field(template.output_prefix)
        return replace(template, input_prefix=prefixes[0], output_prefix=prefixes[1], between=between, last=self.last)

    def listed(self, values: Mapping[str, str], book: LabelBook, only: Collection[str] | None = None) -> dict[str, str]:
        """A row's values with `{labels}` listed in this form, `only` those offered where not all are; a column of that name is the row's own."""
        if self.labels is None or not book or values.get(LABELS) not in (book.rendered(), book.rendered(None if only is None else set(only))):
            return dict(values)
        some = [label for label in book.offered if only is None or label.display in only]
        names = [f"{label.display}: {label.description}" if label.description else label.display for label in some]
        lead = "- " if self.labels == "lines" else ""
        return {**values, LABELS: LISTED[self.labels].join(lead + name for name in names)}

    def stopping(self, template: Template, stops: Sequence[str]) -> list[str]:
        """Stop strings of a prompt in this form: where one names a field at the beginning of a line ("\nInput:"), as the field is written here."""
        names = "|".join(re.escape(name) for name in sorted(_names(template), key=len, reverse=True))

        def written(found: re.Match[str]) -> str:
            mark = found[3] or ""
            after = mark if self.separator is None or not mark else self.separator
            # A stop may end with the mark itself: a blank behind it is asked for only where nothing else is left of it.
            return found[1] + self._named(found[2]) + (after if mark[-1:].isspace() else after.rstrip() or after)

        pattern = re.compile(rf"(?m)^([ \t]*)({names})(?!\w)({MARK})?")
        return list(dict.fromkeys(pattern.sub(written, stop) if names else stop for stop in stops))

    def _field(self, prefix: str) -> str:
        """A prefix with its name and what follows it in this form; one without a name, or with a variable in its name, is left alone."""
        found = re.fullmatch(PREFIX, prefix)
        return prefix if found is None else found[1] + self._named(found[2]) + (found[3] if self.separator is None else self.separator)

    def _rewritten(self, text: str) -> str:
        """A text with every line that begins with the name of a field in this form."""
        known = _named_in(text)
        if not known:
            return text
        names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))

        def written(found: re.Match[str]) -> str:
            return self._named(found[1]) + (found[2] if self.separator is None else self.separator)

        return re.sub(rf"(?m)^({names})({MARK})", written, text)

    def _named(self, name: str) -> str:
        return CASINGS[self.casing](name) if self.casing and len(name.split()) <= MOST_WORDS else name


NAME = r"[^\W\d_](?:[^\n{}:=|]*[^\s{}:=|>\-])?"
"""The name of a field: words without a brace."""
MARK = r"[ \t]*(?::{1,3}|=|->|>|\||-)[ \t]*\n?"
"""What follows a name in a text, where nothing else tells a name from a sentence."""
PREFIX = rf"(\s*)({NAME})((?:{MARK})?\s*)"
"""A prefix of a structured prompt: white space, the field's name, what follows it."""
MOST_WORDS = 4
"""A longer name is a sentence, and a sentence in capitals says something else."""


def _named_in(text: str) -> set[str]:
    """The names of the fields of a text: they stand before a variable or at the end."""
    found = re.finditer(rf"(?m)^({NAME})(?:{MARK})(?=\{{[A-Za-z_]\w*\}}|\s*\Z)", text)
    return {one[1] for one in found if len(one[1].split()) <= MOST_WORDS}


def _names(template: Template) -> set[str]:
    """The names of all fields of a prompt."""
    if template.mode == "structured":
        found = (re.fullmatch(PREFIX, prefix) for prefix in (template.input_prefix, template.output_prefix))
        return {one[2] for one in found if one}
    texts = [template.text] if template.mode == "freeform" else [text for _, text in template.messages]
    return set().union(*map(_named_in, texts))


def _seen(text: str) -> str:
    return text.replace("\n", "\u21b5").replace("\t", "\u21e5")


@dataclass(frozen=True)
class Asked:
    """A prompt, the labels it may name, and how its answer is got: by likelihood, or written with `parameters` (generate)."""

    template: Template
    book: LabelBook = field(default_factory=LabelBook)
    answer: str = "likelihood"
    parameters: Parameters = field(default_factory=Parameters)

    def rendered(self, form: Form) -> Rendered:
        """The prompt in a form, with the names of its variables for their values and nothing for an answer."""
        written = form.applied(self.template)
        named = {name: name for name in template_variables(self.template)}
        values = form.listed({**named, **({LABELS: self.book.rendered()} if self.book else {})}, self.book)
        return render(written, values, "")

    def reading(self, form: Form) -> tuple[str, ...]:
        """What a model reads. What separates the answer from the prompt is part of the answer: it is read where answers are given, not where one is
        written. Turns are read without the white space around them."""
        found = self.rendered(form)
        if found.messages:
            return tuple(message.content.strip() for message in found.messages)
        return (found.text,) if self.answer == "generate" else (found.text, found.answer or "")

    def cut_off(self, form: Form) -> bool:
        """Whether a model that writes stops before the answer in this form, and not in the prompt's own: at white space that the form makes it begin with,
        such as a line break."""
        if self.answer != "generate":
            return False
        found, own = self.rendered(form), self.rendered(Form()).answer or ""
        held = self.parameters.constraint is not None  # the constraint says where the answer ends
        given = self.parameters.stop
        stops = form.stopping(self.template, given) if given is not None else () if held else found.stop
        return any(stop in (found.answer or "") and stop not in own for stop in stops)


def draw(asked: Asked, seed: int, count: int) -> list[Form]:
    """`count` forms of a prompt, or as many as there are: no two read the same, none as the prompt itself does, and in none a model stops before its
    answer. The same seed draws the same ones, and a draw of 8 begins with the draw of 4."""
    found: list[Form] = []
    seen = {asked.reading(Form())}
    every = [Form.model_validate(one) for one in _grammar(asked.template, asked.book)]
    for form in sorted(every, key=lambda one: place(seed, (one.model_dump_json(),))):
        if len(found) == count:
            break
        reading = asked.reading(form)
        if reading not in seen and not asked.cut_off(form):
            seen.add(reading)
            found.append(_effective(asked, form, reading))
    return found


def _effective(asked: Asked, form: Form, reading: tuple[str, ...]) -> Form:
    """The form without what changes nothing in this prompt, so that its words say nothing that cannot be seen."""
    for name in form.as_json():
        less = Form.model_validate({key: value for key, value in form.as_json().items() if key != name})
        if asked.reading(less) == reading:
            form = less
    return form


def _grammar(template: Template, book: LabelBook) -> Iterator[dict[str, Any]]:
    """Every combination of what can be varied in this template."""
    structured = template.mode == "structured"
    ways: dict[str, Sequence[Any]] = {
        "casing": (None, *CASINGS),
        "separator": (None, *SEPARATORS),
        "between": (None, *BETWEEN) if structured else (None,),
        "last": (False, True) if structured and template.shots and template.instruction.strip() else (False,),
        "labels": (None, *LISTED) if len(book.offered) > 1 and LABELS in template_variables(template) else (None,),
    }
    for combined in product(*ways.values()):
        yield dict(zip(ways, combined, strict=True))
