"""What the Lab opens with: a saved prompt, a run of the notebook, a sample, a first prompt for a dataset, or nothing."""

from dataclasses import dataclass

from app.domain.access import Who
from app.domain.prompt import fields_of, template_of
from app.services import gallery, lab, notebook
from app.services.lab import Opened


@dataclass(frozen=True)
class Opening:
    """What stands in the editor. `variables` are put in, and `model` is chosen, where what is opened brings them. `ticket` finds the answer of a run that is
    opened, and `weighed` says that it has labels."""

    opened: Opened
    explicit: bool
    variables: dict[str, str] | None = None
    model: str | None = None
    ticket: str | None = None
    weighed: bool = False


def opening(person: Who, *, prompt: str | None = None, run: int | None = None, sample: str | None = None, start: str | None = None) -> Opening:
    """The first of these that is given. Raises NotFound."""
    if prompt:
        return Opening(lab.opened(person, prompt), True)
    if run is not None:
        row = notebook.find(person, run)
        model = str(row.model_id) if row.model_id else None
        return Opening(Opened(fields_of(template_of(row.prompt), row.parameters)), True, dict(row.variables), model, row.ticket, row.labels is not None)
    if sample:
        one = gallery.find(sample)
        return Opening(Opened(one.fields), True, {"input": one.input})
    if start:
        return Opening(lab.first_prompt(person, start), True)
    return Opening(lab.blank(), False)
