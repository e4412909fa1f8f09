"""Prompts and their immutable versions. What a version says is data; how it becomes text is `rendering.py`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, read
from app.domain.base import Base, Owned, parse_reference
from app.domain.rendering import DEFAULT, Shot, Template, without_opening
from app.errors import Invalid, NotFound

FIELDS = ("mode", "instruction", "input_prefix", "output_prefix", "shots", "text", "messages", "parameters")


class Prompt(Owned, Base):
    """A named prompt; its texts are in its versions."""

    __tablename__ = "prompt"

    name: Mapped[str]


class PromptVersion(Owned, Base):
    """One frozen wording of a prompt, with its shots and generation parameters."""

    __tablename__ = "prompt_version"
    __table_args__ = (UniqueConstraint("prompt_id", "number"),)

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    mode: Mapped[str]
    instruction: Mapped[str]
    input_prefix: Mapped[str]
    output_prefix: Mapped[str]
    shots: Mapped[list[Any]]
    text: Mapped[str]
    messages: Mapped[list[Any]]
    parameters: Mapped[dict[str, Any]]
    content_hash: Mapped[str] = mapped_column(index=True)

    @property
    def reference(self) -> str:
        return f"{self.prompt_id}@{self.number}"

    def template(self) -> Template:
        return template_of({name: getattr(self, name) for name in FIELDS})


def template_of(values: Mapping[str, Any]) -> Template:
    """A template from a version's fields."""
    return Template(
        values.get("mode", "structured"),
        values.get("instruction", ""),
        values.get("input_prefix", "Input:"),
        values.get("output_prefix", "Output:"),
        tuple(Shot(shot["input"], shot["output"]) for shot in values.get("shots") or ()),
        values.get("text", ""),
        tuple((message["role"], message["content"]) for message in values.get("messages") or ()),
    )


def fields_of(template: Template, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A version's fields from a template."""
    return {
        "mode": template.mode,
        "instruction": template.instruction,
        "input_prefix": template.input_prefix,
        "output_prefix": template.output_prefix,
        "shots": [{"input": shot.input, "output": shot.output} for shot in template.shots],
        "text": template.text,
        "messages": [{"role": role, "content": content} for role, content in template.messages],
        "parameters": dict(parameters or {}),
    }


def content_hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps({name: fields[name] for name in FIELDS}, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def create(session: Session, person: Who, name: str, fields: Mapping[str, Any]) -> PromptVersion:
    """A new prompt with its version 1."""
    if not name.strip():
        raise Invalid("no_name", "A prompt needs a name.", "Say in a word or two what it does.")
    prompt = Prompt(**owned(person), name=name.strip())
    session.add(prompt)
    session.flush()
    return add_version(session, person, prompt, fields)


def add_version(session: Session, person: Who, prompt: Prompt, fields: Mapping[str, Any]) -> PromptVersion:
    """The next version of a prompt. Saving the newest wording again answers with the version that is there."""
    newest = latest(session, prompt.id)
    digest = content_hash(fields)
    if newest is not None and newest.content_hash == digest:
        return newest
    number = (session.scalar(select(func.max(PromptVersion.number)).where(PromptVersion.prompt_id == prompt.id)) or 0) + 1
    version = PromptVersion(**owned(person), prompt_id=prompt.id, number=number, content_hash=digest, **{name: fields[name] for name in FIELDS})
    session.add(version)
    session.flush()
    return version


def latest(session: Session, prompt_id: int) -> PromptVersion | None:
    query = select(PromptVersion).where(PromptVersion.prompt_id == prompt_id).order_by(PromptVersion.number.desc())
    return session.scalars(query.limit(1)).first()


def find(session: Session, person: Who, reference: int | str) -> PromptVersion:
    """A version by `ID` (the newest) or `ID@N`. Raises NotFound."""
    parsed = parse_reference(reference)
    if parsed is None:
        raise NotFound("prompt version", reference)
    key, number = parsed
    row = read(session, person, Prompt, key, "prompt")
    query = select(PromptVersion).where(PromptVersion.prompt_id == row.id)
    query = query.where(PromptVersion.number == number) if number is not None else query.order_by(PromptVersion.number.desc())
    version = session.scalars(query.limit(1)).first()
    if version is None:
        raise NotFound("prompt version", reference)
    return version


def default(session: Session, person: Who) -> PromptVersion:
    """The prompt recorded for whoever names none, made once a workspace."""
    fields = fields_of(DEFAULT)
    query = select(PromptVersion).where(PromptVersion.content_hash == content_hash(fields), PromptVersion.workspace_id == person.workspace_id)
    return session.scalars(query.limit(1)).first() or create(session, person, "Default", fields)


def derive(session: Session, person: Who, version: PromptVersion, shots: Iterable[Shot], name: str) -> PromptVersion:
    """The same wording with other shots. A version of the same content is reused."""
    return _recorded(session, person, fields_of(version.template().with_shots(shots), version.parameters), name)


def unopened(session: Session, person: Who, version: PromptVersion) -> PromptVersion:
    """The same prompt without the text before every input, for a soft prompt to stand there. It is the version itself when it has no such text."""
    template = version.template()
    bare = without_opening(template)
    if bare == template:
        return version
    name = session.get_one(Prompt, version.prompt_id).name
    return _recorded(session, person, fields_of(bare, version.parameters), f"{name}: under a soft prompt")


def _recorded(session: Session, person: Who, fields: Mapping[str, Any], name: str) -> PromptVersion:
    digest = content_hash(fields)
    query = select(PromptVersion).where(PromptVersion.content_hash == digest, PromptVersion.workspace_id == person.workspace_id)
    return session.scalars(query.limit(1)).first() or create(session, person, name, fields)
