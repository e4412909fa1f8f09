"""Prompts and their immutable versions. What a version says is data; how it becomes text is `rendering.py`."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain import alias as aliases
from app.domain.access import Who, owned, read
from app.domain.base import Base, Owned, parse_reference
from app.domain.rendering import DEFAULT, Shot, Template, without_opening
from app.errors import Conflict, Invalid, NotFound

FIELDS = ("mode", "instruction", "input_prefix", "output_prefix", "shots", "text", "messages", "defaults", "parameters")


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
    defaults: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    content_hash: Mapped[str] = mapped_column(index=True)
    message: Mapped[str] = mapped_column(default="")

    @property
    def reference(self) -> str:
        return f"{self.prompt_id}@{self.number}"

    @property
    def fields(self) -> dict[str, Any]:
        """What makes it this version: the wording and the parameters."""
        return {name: getattr(self, name) for name in FIELDS}

    def template(self) -> Template:
        return template_of(self.fields)


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
        tuple(sorted((values.get("defaults") or {}).items())),
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
        "defaults": dict(template.defaults),
        "parameters": dict(parameters or {}),
    }


def content_hash(fields: Mapping[str, Any]) -> str:
    # A prompt without defaults has the hash it had before there were any.
    said = {name: fields[name] for name in FIELDS if name != "defaults" or fields.get(name)}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def create(session: Session, person: Who, name: str, fields: Mapping[str, Any], message: str = "") -> PromptVersion:
    """A new prompt with its version 1."""
    if not name.strip():
        raise Invalid("no_name", "A prompt needs a name.", "Say in a word or two what it does.")
    prompt = Prompt(**owned(person), name=name.strip())
    session.add(prompt)
    session.flush()
    return add_version(session, person, prompt, fields, message)


def add_version(session: Session, person: Who, prompt: Prompt, fields: Mapping[str, Any], message: str = "", based_on: int | None = None) -> PromptVersion:
    """The next version of a prompt. Saving the newest wording again answers with the version that is there.

    `based_on` is the number of the version that was edited: Conflict is raised with the newest one when that is another by now.
    """
    lock(session, prompt.id)
    newest = latest(session, prompt.id)
    digest = content_hash(fields)
    if newest is not None and newest.content_hash == digest:
        return newest
    if newest is not None and based_on is not None and newest.number != based_on:
        since = f"Version {newest.number} was saved since version {based_on}, which this began from."
        theirs = {"version": newest.number, "message": newest.message, "created_at": newest.created_at, **newest.fields}
        raise Conflict("newer_version", since, "Compare the two: keep yours as the next version, or take theirs.", detail={"newest": theirs})
    number = (session.scalar(select(func.max(PromptVersion.number)).where(PromptVersion.prompt_id == prompt.id)) or 0) + 1
    values = {name: fields[name] for name in FIELDS}
    version = PromptVersion(**owned(person), prompt_id=prompt.id, number=number, content_hash=digest, message=message.strip(), **values)
    session.add(version)
    session.flush()
    return version


def lock(session: Session, prompt_id: int) -> None:
    """Let nobody else number a version or move an alias of this prompt before the transaction ends. (SQLite has one writer anyway.)"""
    session.execute(select(Prompt.id).where(Prompt.id == prompt_id).with_for_update())


def latest(session: Session, prompt_id: int) -> PromptVersion | None:
    query = select(PromptVersion).where(PromptVersion.prompt_id == prompt_id).order_by(PromptVersion.number.desc())
    return session.scalars(query.limit(1)).first()


def find(session: Session, person: Who, reference: int | str) -> PromptVersion:
    """A version by `ID` (the newest), `ID@N` or `ID@ALIAS`. Raises NotFound."""
    bare, _, alias = str(reference).partition("@") if re.fullmatch(rf"[0-9]+@{aliases.NAME}", str(reference)) else (reference, "", "")
    parsed = parse_reference(bare)
    if parsed is None:
        raise NotFound("prompt version", reference)
    key, number = parsed
    row = read(session, person, Prompt, key, "prompt")
    if alias:
        named = aliases.named(session, key, alias)
        if named is None:
            raise NotFound("prompt version", reference)
        number = named.number
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


def derive(
    session: Session, person: Who, version: PromptVersion, shots: Iterable[Shot], name: str, parameters: Mapping[str, Any] | None = None
) -> PromptVersion:
    """The same wording with other shots, `parameters` beside its own. A version of the same content is reused."""
    return _recorded(session, person, fields_of(version.template().with_shots(shots), {**version.parameters, **(parameters or {})}), name)


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
