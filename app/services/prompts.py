"""Prompts: save, list, read, compare, restore, duplicate, and the aliases of their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import alias
from app.domain import prompt as prompts
from app.domain.access import Who, page, read, visible, write
from app.domain.alias import AliasMove, PromptAlias
from app.domain.generation import Parameters
from app.domain.prompt import Prompt, PromptVersion, fields_of, template_of
from app.domain.user import User
from app.domain.wording import By, Section, sections
from app.errors import Invalid


@dataclass(frozen=True)
class Line:
    """A version in its prompt's history: who saved it (none: it came with the installation), and the aliases that stand for it."""

    version: PromptVersion
    author: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """A prompt with all its versions and moves of aliases, both newest first; moves come with the name of who made them."""

    prompt: Prompt
    lines: list[Line]
    moves: list[tuple[AliasMove, str | None]]

    @property
    def newest(self) -> PromptVersion:
        return self.lines[0].version

    @property
    def aliases(self) -> dict[str, int]:
        """Version numbers by alias."""
        return {name: line.version.number for line in self.lines for name in line.aliases}


@dataclass(frozen=True)
class Compared:
    """Two versions of a prompt, part by part."""

    prompt: Prompt
    older: PromptVersion
    newer: PromptVersion
    sections: list[Section]


def normal_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """A version's fields, complete and checked."""
    parameters = Parameters.model_validate(values.get("parameters") or {}).model_dump(exclude_defaults=True)
    return fields_of(template_of(values), parameters)


def create(person: Who, name: str, values: Mapping[str, Any], message: str = "") -> PromptVersion:
    with transaction() as session:
        return prompts.create(session, person, name, normal_form(values), message)


def add_version(person: Who, key: int, values: Mapping[str, Any], message: str = "", based_on: int | None = None) -> PromptVersion:
    """The next version. Raises Conflict with the newest one when that is not `based_on` any more."""
    with transaction() as session:
        return prompts.add_version(session, person, write(session, person, Prompt, key, "prompt"), normal_form(values), message, based_on)


def find(person: Who, reference: int | str) -> tuple[Prompt, PromptVersion]:
    with reading() as session:
        version = prompts.find(session, person, reference)
        return session.get_one(Prompt, version.prompt_id), version


def usual(person: Who) -> PromptVersion:
    """The prompt of whoever names none."""
    with transaction() as session:
        return prompts.default(session, person)


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[tuple[Prompt, PromptVersion]], int | None]:
    """Prompts with their newest version, newest first."""
    with reading() as session:
        rows, following = page(session, visible(person, Prompt), Prompt, after, limit)
        last = select(func.max(PromptVersion.id)).where(PromptVersion.prompt_id.in_([row.id for row in rows])).group_by(PromptVersion.prompt_id)
        newest = {version.prompt_id: version for version in session.scalars(select(PromptVersion).where(PromptVersion.id.in_(last)))}
        return [(row, newest[row.id]) for row in rows if row.id in newest], following


def listed(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[tuple[Prompt, Line]], int | None]:
    """The same with who saved the newest version and every alias of the prompt, as `name` or `name v3` for an older one."""
    rows, following = recent(person, after, limit)
    with reading() as session:
        names = _names(session, {version.author_id for _, version in rows})
        found = session.scalars(select(PromptAlias).where(PromptAlias.prompt_id.in_([row.id for row, _ in rows])).order_by(PromptAlias.name)).all()
    told: dict[int, list[str]] = {}
    newest = {row.id: version.number for row, version in rows}
    for one in found:
        told.setdefault(one.prompt_id, []).append(one.name if one.number == newest[one.prompt_id] else f"{one.name} v{one.number}")
    return [(row, Line(version, names.get(version.author_id or 0), tuple(told.get(row.id, ())))) for row, version in rows], following


def versions(person: Who, key: int) -> list[PromptVersion]:
    return [line.version for line in history(person, key).lines]


def history(person: Who, key: int) -> History:
    with reading() as session:
        prompt = read(session, person, Prompt, key, "prompt")
        rows = session.scalars(select(PromptVersion).where(PromptVersion.prompt_id == key).order_by(PromptVersion.number.desc())).all()
        moves = session.scalars(select(AliasMove).where(AliasMove.prompt_id == key).order_by(AliasMove.id.desc())).all()
        named = session.scalars(select(PromptAlias).where(PromptAlias.prompt_id == key).order_by(PromptAlias.name)).all()
        authors = _names(session, {row.author_id for row in rows} | {move.author_id for move in moves})
    lines = [Line(row, authors.get(row.author_id or 0), tuple(one.name for one in named if one.number == row.number)) for row in rows]
    return History(prompt, lines, [(move, authors.get(move.author_id or 0)) for move in moves])


def _names(session: Session, keys: set[int | None]) -> dict[int, str]:
    wanted = keys - {None}
    return dict(session.execute(select(User.id, User.name).where(User.id.in_(wanted))).all()) if wanted else {}


def compare(person: Who, key: int, older: int | str, newer: int | str, by: By = "word") -> Compared:
    """Any two versions of a prompt, by number or alias. Raises NotFound."""
    with reading() as session:
        prompt = read(session, person, Prompt, key, "prompt")
        one, other = (prompts.find(session, person, f"{key}@{number}") for number in (older, newer))
    return Compared(prompt, one, other, sections(one.fields, other.fields, by))


def restore(person: Who, key: int, number: int) -> PromptVersion:
    """An old version as the newest one again. Raises Invalid when the newest says the same."""
    with transaction() as session:
        prompt = write(session, person, Prompt, key, "prompt")
        old = prompts.find(session, person, f"{key}@{number}")
        newest = prompts.latest(session, key)
        if newest is not None and newest.content_hash == old.content_hash:
            raise Invalid("nothing_changes", f"Version {newest.number}, the newest, says the same as version {number}.", "Choose another version.")
        return prompts.add_version(session, person, prompt, old.fields, f"Restored version {number}")


def duplicate(person: Who, reference: int | str, name: str = "") -> PromptVersion:
    """A new prompt that begins with one version of another."""
    with transaction() as session:
        version = prompts.find(session, person, reference)
        prompt = session.get_one(Prompt, version.prompt_id)
        return prompts.create(session, person, name.strip() or f"{prompt.name} (copy)", version.fields, f"Copied from {prompt.name} v{version.number}")


def rename(person: Who, key: int, name: str) -> Prompt:
    with transaction() as session:
        prompt = write(session, person, Prompt, key, "prompt")
        if not name.strip():
            raise Invalid("no_name", "A prompt needs a name.", "Say in a word or two what it does.")
        prompt.name = name.strip()
        return prompt


def set_alias(person: Who, key: int, name: str, version: int | str | None) -> PromptVersion:
    """Let an alias stand for a version (none: the newest). Raises NotFound, and Invalid for a name that cannot be one."""
    with transaction() as session:
        write(session, person, Prompt, key, "prompt")
        prompts.lock(session, key)
        found = prompts.find(session, person, key if version is None else f"{key}@{version}")
        alias.move(session, person, key, name, found.number)
        return found


def drop_alias(person: Who, key: int, name: str) -> None:
    with transaction() as session:
        write(session, person, Prompt, key, "prompt")
        prompts.lock(session, key)
        alias.take_off(session, person, key, name)


FORMAT = "fettle.prompt/1"


def export(person: Who, key: int) -> dict[str, Any]:
    """A prompt as a file: its name, every version with its message, oldest first, and its aliases. Importing it gives the same export again."""
    found = history(person, key)
    lines = [{"message": line.version.message, **line.version.fields} for line in reversed(found.lines)]
    return {"format": FORMAT, "name": found.prompt.name, "versions": lines, "aliases": found.aliases}


def import_file(person: Who, name: str, versions: list[Mapping[str, Any]], aliases: Mapping[str, int]) -> PromptVersion:
    """A new prompt out of an export. Raises Invalid, and nothing is made, when a version says the same as the one before it or an alias names none."""
    with transaction() as session:
        made: PromptVersion | None = None
        for number, values in enumerate(versions, 1):
            fields, message = normal_form(values), str(values.get("message", ""))
            if made is None:
                made = prompts.create(session, person, name, fields, message)
                continue
            made = prompts.add_version(session, person, session.get_one(Prompt, made.prompt_id), fields, message)
            if made.number != number:
                raise Invalid(
                    "same_version", f"Version {number} says the same as version {made.number}.", "Leave one of them out.", detail={"field": "versions"}
                )
        if made is None:
            raise Invalid("no_versions", "The file has no version of the prompt.", "Export the prompt again.", detail={"field": "versions"})
        for one, number in aliases.items():
            if not 1 <= number <= made.number:
                raise Invalid("no_such_version", f"{one} names version {number}, which is not in the file.", "Correct the alias.", detail={"field": "aliases"})
            alias.move(session, person, made.prompt_id, one, number)
        return made


def choices(person: Who, limit: int = 300) -> list[tuple[str, list[PromptVersion]]]:
    """The newest versions of all prompts, by prompt: [(name, versions newest first)], the prompt changed last first."""
    with reading() as session:
        query = select(PromptVersion, Prompt.name).join(Prompt, Prompt.id == PromptVersion.prompt_id)
        query = query.where(PromptVersion.workspace_id == person.workspace_id).order_by(PromptVersion.id.desc()).limit(limit)
        found: dict[int, tuple[str, list[PromptVersion]]] = {}
        for version, name in session.execute(query):
            found.setdefault(version.prompt_id, (name, []))[1].append(version)
        return list(found.values())
