"""Marks: a thumb and a note on an answer, kept and listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.db import reading, transaction
from app.domain import mark as marks
from app.domain.access import Who, page, visible, write
from app.domain.mark import Mark
from app.domain.model import Model
from app.domain.notebook import Run
from app.domain.prompt import Prompt, PromptVersion, content_hash
from app.domain.user import User
from app.services import generate, prompts


@dataclass(frozen=True)
class MarkView:
    """A mark with the names of what it is about. `prompt` is the saved prompt version that says the same, as `Routing v3`; "" when none does."""

    mark: Mark
    model: str
    prompt: str
    author: str


def put(
    person: Who,
    *,
    model: int | str,
    prompt: Mapping[str, Any] | None,
    prompt_version: int | str | None,
    parameters: Mapping[str, Any] | None,
    variables: Mapping[str, str],
    text: str,
    thumb: str,
    note: str,
) -> Mark | None:
    """Mark an answer; none when the mark was taken back. Raises NotFound for a model or prompt that is not there."""
    row, fields = generate.fields_for(person, model, prompt, prompt_version)
    wanted = prompts.normal_form({**fields, "parameters": fields.get("parameters") if parameters is None else parameters})
    with transaction() as session:
        return marks.put(session, person, row.id, wanted, variables, text, thumb, note)


def on_runs(person: Who, runs: Sequence[Run]) -> dict[int, list[Mark | None]]:
    """What a person thinks of each answer of these runs of the notebook, by the run."""
    keys = {run.id: [_key(run, text) for text in run.texts or [run.output]] for run in runs}
    with reading() as session:
        known = marks.given(session, person, {key for several in keys.values() for key in several})
    return {run: [known.get(key) for key in several] for run, several in keys.items()}


def _key(run: Run, text: str) -> str:
    fields = prompts.normal_form({**run.prompt, "parameters": run.parameters})
    return marks.key_of(run.model_id or 0, content_hash(fields), run.variables, text.lstrip())


def recent(person: Who, after: int | None = None, limit: int = 50) -> tuple[list[MarkView], int | None]:
    """Everybody's marks in the workspace, newest first."""
    with reading() as session:
        rows, following = page(session, visible(person, Mark), Mark, after, limit)
        models = {model.id: model for model in session.scalars(select(Model).where(Model.id.in_({row.model_id for row in rows})))}
        authors = {user.id: user.name for user in session.scalars(select(User).where(User.id.in_({row.author_id for row in rows})))}
        saved = select(PromptVersion.content_hash, Prompt.name, PromptVersion.number).join(Prompt, Prompt.id == PromptVersion.prompt_id)
        saved = saved.where(PromptVersion.workspace_id == person.workspace_id, PromptVersion.content_hash.in_({row.prompt_hash for row in rows}))
        named = {digest: f"{name} v{number}" for digest, name, number in session.execute(saved)}
        return [
            MarkView(
                row,
                models[row.model_id].shown,
                named.get(row.prompt_hash, ""),
                authors.get(row.author_id or 0, ""),
            )
            for row in rows
        ], following


def delete(person: Who, key: int) -> None:
    with transaction() as session:
        session.delete(write(session, person, Mark, key, "mark"))
