"""A soft prompt from the prompt a person chose, as a worker tunes it and as the ladder scores it."""

import pytest

from app.db import reading, transaction
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.model import Model
from app.domain.prompt import PromptVersion
from app.domain.rendering import Template
from app.services import experiments
from worker import parent

SHORT = {"max_steps": 40, "batch_size": 8, "evaluations": 1, "learning_rate": 2e-2}
ASKING = Template(instruction="Is it good or bad? Say positive or negative.")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_soft_prompt_of_a_ladder_is_tuned_from_the_text_and_scored_without_it(person: Who, base: Model, toys: DatasetVersion) -> None:
    with transaction() as session:
        prompt = prompts.create(session, person, "asking", prompts.fields_of(ASKING)).reference
    rungs = [{"technique": method, "parameters": SHORT} for method in ("prompt_tuning", "p_tuning", "prefix")]
    key = experiments.create(person, name="soft", dataset=toys.dataset_id, model=base.id, prompt_version=prompt, rungs=[{"technique": "zero_shot"}, *rungs])
    while parent.run_one("gpu"):
        pass
    rows = experiments.find(person, key).rows
    assert [row.state for row in rows] == ["succeeded"] * 4, [row.job and row.job.error for row in rows]
    untuned, *tuned = [row.evaluation for row in rows]
    for row, evaluation in zip(rows[1:], tuned, strict=True):
        assert evaluation is not None and untuned is not None and evaluation.scores and untuned.scores
        assert evaluation.scores["accuracy"] > untuned.scores["accuracy"], row.title
        with reading() as session:
            assert session.get_one(PromptVersion, evaluation.prompt_version_id).instruction == ""
        assert row.model.trainable_parameters
