"""How an experiment's answers are read and judged, in sentences."""

from collections.abc import Collection

from app.domain.scheme import Scheme, Shape
from app.domain.scoring.calibration import Weighing
from app.domain.scoring.check_lines import write_checks, write_fields

WEIGHED: dict[Weighing, str] = {
    "raw": "as it is",
    "normalised": "by the token",
    "calibrated": "after what the model favours without an input",
}

COUNTED = {
    "exact": "all that the model writes",
    "first_line": "the first line that the model writes",
    "regex": "what the pattern `{pattern}` finds first in what the model writes (its first group)",
    "json_field": "the field `{json_field}` of the first JSON object that the model writes",
}


def sentences(scheme: Scheme, answers: Collection[str], labels: Collection[str], narrowed: Collection[bool]) -> list[str]:
    """`answers` are the ways in which rungs answer, `labels` what there is to answer; `narrowed`: of each prompt, whether rows are offered some of them."""
    shape: Shape = "labels" if scheme.shape == "auto" else scheme.shape
    said = []
    if "likelihood" in answers:
        weighed = f"its likelihood is taken {WEIGHED[scheme.scoring]}, or as the rung's calibration says"
        said.append(f"Label likelihood: every label is tried as the answer to the prompt, and the likeliest one counts; {weighed}. Nothing is written.")
    if "generate" in answers:
        usual = "first_line" if shape in ("labels", "number") else "exact"
        counted = COUNTED[usual if scheme.extractor == "auto" else scheme.extractor].format(pattern=scheme.pattern, json_field=scheme.json_field)
        said.append(f"Generation: {counted} counts as the answer.")
    said.append(_judged(scheme, shape, written="generate" in answers))
    if any(narrowed):
        where = "" if all(narrowed) else " where they are weighed or the prompt names them"
        offered = f"Of {len(labels):,} labels a row is offered the {scheme.candidates} that BM25 finds likeliest{where}"
        said.append(f"{offered}; one that is not offered cannot be right.")
    if scheme.checks:
        said.append(f"House style, checked in every answer: {'; '.join(write_checks(scheme.checks).splitlines())}.")
    return [*said, f"Rungs are compared by {scheme.figure.title}."]


def _judged(scheme: Scheme, shape: Shape, *, written: bool) -> str:
    if shape == "labels":
        spelt = " It may spell a label's display text or an alias; what spells none of the labels is off the list, and wrong." if written else ""
        return f"An answer is right where it is the row's label.{spelt}"
    if shape == "number":
        off = f"off by at most {scheme.tolerance:g}" if scheme.tolerance else "exactly"
        return f"The last number of an answer has to be the row's own, {off}."
    if shape == "json":
        named = f"{'; '.join(write_fields(scheme.fields).splitlines())}; every other field" if scheme.fields else "Every field"
        return f"JSON is compared field by field. {named} has to be exactly right."
    return "An answer is compared with the text of its row; white space does not count for an exact match."
