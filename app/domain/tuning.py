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
from app.domain.search import Search, share_prompt


def settings_of(
    session: Session,
    person: Who,
    base: Model,
    version: DatasetVersion,
    prompt: PromptVersion,
    parameters: MethodParameters,
    seed: int,
    search: Search = Search(),  # frozen
) -> dict[str, Any]:
    """The settings of a tune job. Raises Invalid for a search whose trials would need different prompts.

    A soft prompt that starts from a prompt's text takes its place: the job then works with that prompt without the text
    (`prompt_version`), and `opening` names the version the text is taken from.
    """
    share_prompt(search, parameters, prompt.template(), base.encoder_decoder)
    bare = prompts.unopened(session, person, prompt) if parameters.replaces_text(base.encoder_decoder) else prompt
    return {
        "model": base.id,
        "dataset": version.reference,
        "prompt_version": bare.reference,
        "opening": None if bare is prompt else prompt.reference,
        "method": parameters.name,
        "parameters": parameters.model_dump(),
        "seed": seed,
        **({} if search.how == "none" else {"search": search.model_dump(mode="json")}),
    }


CHANGEABLE = ("model", "dataset", "prompt_version", "method", "parameters", "search", "seed")
"""What a clone can have different, its priority aside."""


def changed(old: Mapping[str, Any], parameters: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask for to get old settings again, some of them changed. Under another method its parameters go on that both methods have."""
    method = others.get("method") or old["method"]
    kept = {name: value for name, value in old["parameters"].items() if method == old["method"] or name in MethodParameters.model_fields}
    same = {"model": old["model"], "dataset": old["dataset"], "prompt_version": chosen_prompt(old), "seed": old["seed"], "search": old.get("search")}
    given = {name: value for name, value in others.items() if value is not None}
    return same | given | {"method": method, "parameters": kept | dict(parameters)}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, old value, new value) of every setting that is not the same, parameters and search among them; None for what one side does not have."""
    before, after = _flat(old), _flat(new)
    return [(name, before.get(name), after.get(name)) for name in {**before, **after} if before.get(name) != after.get(name)]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in settings.items() if name not in ("parameters", "search", "opening", "prompt_version")}
    searched = {f"search {name}": value for name, value in (settings.get("search") or {}).items()}
    return {**plain, "prompt": chosen_prompt(settings), **settings.get("parameters", {}), **searched}


def chosen_prompt(settings: Mapping[str, Any]) -> str:
    """The prompt version a person chose for a tune job: the one whose text the soft prompt took, if it took one."""
    return str(settings.get("opening") or settings["prompt_version"])
