"""What a tune job works with: its settings, frozen when it is accepted."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.methods.base import MethodParameters
from app.domain.model import Model
from app.domain.prompt import PromptVersion


def settings_of(
    session: Session, person: Who, base: Model, version: DatasetVersion, prompt: PromptVersion, parameters: MethodParameters, seed: int
) -> dict[str, Any]:
    """The settings of a tune job.

    A soft prompt that starts from a prompt's text takes its place: the job then works with that prompt without the text
    (`prompt_version`), and `opening` names the version the text is taken from.
    """
    bare = prompts.unopened(session, person, prompt) if parameters.replaces_text(base.encoder_decoder) else prompt
    return {
        "model": base.id,
        "dataset": version.reference,
        "prompt_version": bare.reference,
        "opening": None if bare is prompt else prompt.reference,
        "method": parameters.name,
        "parameters": parameters.model_dump(),
        "seed": seed,
    }


def chosen_prompt(settings: Mapping[str, Any]) -> str:
    """The prompt version a person chose for a tune job: the one whose text the soft prompt took, if it took one."""
    return str(settings.get("opening") or settings["prompt_version"])
