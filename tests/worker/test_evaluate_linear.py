"""The linear baseline of a comparison, as a light job in its own process."""

import sys

import pytest

from app.domain.access import Who
from app.domain.dataset import Case, DatasetVersion
from app.domain.model import Model
from app.domain.rendering import Template, read_of
from app.errors import Invalid
from app.services import evaluations, experiments
from worker import parent
from worker.engine.reporting import NullReporter
from worker.evaluate_linear import fit


def case(at: int, text: str, answer: str) -> Case:
    return Case(at, at, {"input": text}, answer)


ROWS = [case(at, f"{'good' if at % 2 else 'bad'} film number {at}", "positive" if at % 2 else "negative") for at in range(40)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_comparison_has_it_and_it_learns_from_train_alone(person: Who, base: Model, toys: DatasetVersion) -> None:
    key = experiments.create(person, name="toys", dataset=toys.reference, model=base.id, rungs=[{"technique": "zero_shot"}])
    assert parent.run_one("light") is True
    linear = experiments.find(person, key).linear
    assert linear is not None and (linear.rung.technique, linear.title, linear.labels_used) == ("linear", "TF-IDF + logistic regression", 60)
    assert linear.job is not None and linear.job.error is None and linear.job.queue == "light"
    assert linear.validation is not None and linear.validation["n"] == 20 and linear.scores is None
    assert parent.run_one("gpu") is True and parent.run_one("light") is True, "the rung is validated, and the test rows are opened"
    linear = experiments.find(person, key).linear
    assert linear is not None and linear.job is not None and linear.scores is not None
    assert linear.scores["accuracy"] == 1.0 and linear.scores["latency_ms"]["p50"] > 0
    of = evaluations.of_job(person, linear.job.id)
    assert of is not None and of.answer == "linear"


def test_it_answers_with_likelihoods_of_every_label() -> None:
    linear = fit(ROWS[:30], ROWS[30:], NullReporter())
    found = linear.answer(ROWS[30:])
    assert [one["answer"] for one in found] == [row.answer for row in ROWS[30:]]
    assert set(found[0]["likelihoods"]) == {"positive", "negative"} and max(found[0]["likelihoods"].values()) < 0
    assert linear.answer([]) == []


@pytest.mark.parametrize(
    ("rows", "code"), [([case(0, "a film", "good"), case(1, "a play", "good")], "one_label"), ([case(0, "!!", "a"), case(1, "??", "b")], "no_words")]
)
def test_what_it_cannot_learn_from_is_said(rows: list[Case], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        fit(rows, [], NullReporter())
    assert caught.value.code == code


def test_it_reads_every_column_that_the_prompt_reads() -> None:
    """Premise and hypothesis: neither tells by itself, and a column that no prompt reads is not looked at."""
    rows = [
        Case(at, at, {"input": "A man sleeps.", "premise": f"{'asleep' if at % 2 else 'awake'} again", "note": f"n{at % 2}", "labels": "yes, no"}, str(at % 2))
        for at in range(40)
    ]
    paired = Template(instruction="Premise: {premise}\nOne of {labels}.")
    right = [one["correct"] for one in fit(rows[:30], rows[30:], NullReporter(), paired).answer(rows[30:])]
    assert all(right) and read_of(paired, rows[1].values) == "A man sleeps.\nasleep again"
    alone = [one["correct"] for one in fit(rows[:30], rows[30:], NullReporter()).answer(rows[30:])]
    assert sum(alone) == 5, "by the input alone it is at chance"
    assert read_of(Template(mode="freeform", text="No variable."), rows[0].values) == "A man sleeps."


def test_words_of_one_letter_count() -> None:
    linear = fit([case(0, "x", "a"), case(1, "y", "b")], [], NullReporter())
    assert linear.answer([case(2, "y", "b")])[0]["correct"]


def test_it_loads_no_torch() -> None:
    import subprocess

    code = "import sys, worker.evaluate_linear; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
