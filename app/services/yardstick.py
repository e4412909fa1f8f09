"""What an experiment's rungs are compared by: the shape of its answers, the figures there are for it, and how answers are got."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from app.db import reading
from app.domain import dataset as datasets
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.scheme import METRICS, Scheme, Shape
from app.domain.scoring.json_schema import schema_of
from app.errors import Invalid
from app.services.evaluations import LOOKED_AT, check_fields, scheme_of


def shape_of(session: Session, version: DatasetVersion, scheme: Scheme) -> Shape:
    """Labels where the dataset has them, else as the gold answers look; or as the scheme says."""
    labels = bool(version.label_texts())
    golds = [] if labels or scheme.shape != "auto" else [case.answer for case in islice(datasets.cases(session, version, "test"), LOOKED_AT)]
    return scheme.shape_of(labels, golds)


def settled(session: Session, version: DatasetVersion, scheme: Scheme) -> Scheme:
    """The same scheme with shape and figure said, so that validation and test rows are judged alike. Labels by accuracy is what goes without saying.

    Raises Invalid for a figure that there is not for this shape, or a comparator of what has none.
    """
    check_fields(session, version, scheme)
    shape = shape_of(session, version, scheme)
    known = METRICS[shape]
    if scheme.metric != "auto" and scheme.metric not in known:
        message = f"{scheme.metric} is no figure of {WORDS[shape]}."
        raise Invalid("no_such_metric", message, f"Choose from: {', '.join(known)}.", detail={"field": "metric"})
    if shape == "labels" and not version.label_texts():
        message = "This dataset has no fixed set of labels."
        raise Invalid("no_label_set", message, "Compare its answers as text, JSON or numbers.", detail={"field": "shape"})
    main = scheme.main(shape)
    usual = next(iter(METRICS["labels"]))
    return scheme.model_copy(
        update={"shape": "auto" if shape == "labels" else shape, "metric": "auto" if (shape, main.name) == ("labels", usual) else main.name}
    )


WORDS = {"labels": "labels", "text": "text", "json": "JSON", "number": "numbers"}


def answer_of(version: DatasetVersion, scheme: Scheme) -> str:
    """How a rung answers unless it says so: by likelihood where there are labels to compare and nothing is to be read out of a text."""
    by_label = bool(version.label_texts()) and scheme.shape in ("auto", "labels") and scheme.extractor == "auto"
    return "likelihood" if by_label else "generate"


def constraint(session: Session, version: DatasetVersion, scheme: Scheme, answer: str) -> dict[str, Any]:
    """The generation parameter that holds an answer to its form: to the labels, or to a JSON schema of the train rows' outputs. Raises Invalid where
    answers have no form, or are not written."""
    field = {"field": "constrained"}
    if answer != "generate":
        message = "By likelihood an answer is one of the labels anyway, so there is nothing to hold it to."
        raise Invalid("not_written", message, "Leave constrained out, or let answers be generated.", detail=field)
    shape = shape_of(session, version, scheme)
    if shape == "labels":
        return {"choices": version.label_texts()}
    rows = islice(datasets.cases(session, version, "train"), LOOKED_AT)
    found = schema_of([case.answer for case in rows]) if shape == "json" else None
    if found is None:
        raise Invalid("no_form", "Only labels and JSON have a form that an answer can be held to.", "Leave constrained out.", detail=field)
    return {"json_schema": found}


@dataclass(frozen=True)
class Yardstick:
    """The shape of a dataset's answers under a scheme, and how they are got."""

    shape: Shape
    answer: str


def of(person: Who, dataset: int | str, scheme: Mapping[str, Any]) -> Yardstick:
    """Raises Invalid for a scheme that cannot be."""
    with reading() as session:
        version = datasets.find(session, person, dataset)
        wanted = scheme_of(scheme)
        shape = shape_of(session, version, wanted)
        return Yardstick(shape, answer_of(version, wanted.model_copy(update={"shape": shape})))
