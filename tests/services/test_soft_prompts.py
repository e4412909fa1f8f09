"""A soft prompt takes the place of the prompt text it starts from: what is fixed when such a job is accepted, and what a ladder scores it through."""

import pytest

from app.db import reading, transaction
from app.domain import climbing, ending
from app.domain import model as models
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.job import Job
from app.domain.rendering import Shot, Template
from app.services import experiments
from app.services import jobs as job_service
from tests.rows import add_dataset, add_model, claim

ASKING = Template(instruction="Billing or delivery?", shots=(Shot("my card", "billing"), Shot("my box", "delivery")))


def add_prompt(person: Who, template: Template = ASKING) -> str:
    with transaction() as session:
        return prompts.create(session, person, "desk", prompts.fields_of(template)).reference


def template_of(person: Who, reference: str) -> Template:
    with reading() as session:
        return prompts.find(session, person, reference).template()


def start(person: Who, method: str, prompt: str | None, **parameters: object) -> Job:
    model, version = add_model(person), add_dataset(person)
    return job_service.start_tune(person, model=model, dataset=version.reference, method=method, parameters=parameters, prompt_version=prompt, seed=0).job


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning", "prefix"])
def test_the_text_leaves_the_input_and_is_what_the_soft_prompt_starts_from(person: Who, method: str) -> None:
    prompt = add_prompt(person)
    settings = start(person, method, prompt).settings
    assert settings["opening"] == prompt
    bare = template_of(person, settings["prompt_version"])
    assert (bare.instruction, bare.shots) == ("", ASKING.shots)


@pytest.mark.parametrize(
    ("method", "parameters"), [("lora", {}), ("full", {}), ("prompt_tuning", {"keep_text": True}), ("prompt_tuning", {"init": "vocabulary"})]
)
def test_it_stays_where_nothing_stands_for_it(person: Who, method: str, parameters: dict[str, object]) -> None:
    prompt = add_prompt(person)
    settings = start(person, method, prompt, **parameters).settings
    assert (settings["prompt_version"], settings["opening"]) == (prompt, None)


def test_an_encoder_decoder_keeps_its_text_under_a_prefix_which_cannot_start_from_it(person: Who) -> None:
    model, version, prompt = add_model(person), add_dataset(person), add_prompt(person)
    with transaction() as session:
        session.get_one(models.Model, model).encoder_decoder = True

    def fixed(method: str) -> tuple[str, str | None]:
        view = job_service.start_tune(person, model=model, dataset=version.reference, method=method, parameters={}, prompt_version=prompt, seed=0)
        return view.job.settings["prompt_version"], view.job.settings["opening"]

    assert fixed("prefix") == (prompt, None)
    assert fixed("prompt_tuning")[1] == prompt


def test_a_prompt_without_a_text_of_its_own_is_used_as_it_is(person: Who) -> None:
    settings = start(person, "prompt_tuning", None).settings
    assert settings["opening"] is None
    assert template_of(person, settings["prompt_version"]) == Template()


def test_the_same_prompt_is_bared_once(person: Who) -> None:
    prompt = add_prompt(person)
    one, two = (start(person, method, prompt).settings["prompt_version"] for method in ("prefix", "p_tuning"))
    assert one == two


def test_a_soft_rung_is_scored_through_the_prompt_it_was_tuned_with_and_keeping_the_text_is_a_rung_of_its_own(person: Who) -> None:
    model, version, prompt = add_model(person), add_dataset(person), add_prompt(person)
    wanted: list[dict[str, object]] = [{"technique": "prompt_tuning"}, {"technique": "prompt_tuning", "parameters": {"keep_text": True}}]
    key = experiments.create(person, name="desk", dataset=version.dataset_id, model=model, prompt_version=prompt, rungs=wanted)
    with transaction() as session:
        job = claim(session)
        tuned = models.register_tuned(
            session, job.person(), name="soft", folder="jobs/1", content_hash="1" * 64, parameters=1000, base_model_id=model, method="prompt_tuning",
            job_id=job.id, prompt_version_id=prompts.find(session, person, job.settings["prompt_version"]).id,
        )  # fmt: skip
        climbing.advance(session, job, tuned)
        ending.succeed(session, job.id, job.lease_token or "", {"model": tuned.id})
    rows = experiments.find(person, key).rows
    assert [row.title for row in rows] == ["Prompt tuning", "Prompt tuning beside its text"]
    with reading() as session:
        scoring = session.get_one(Job, rows[0].job.id if rows[0].job else 0).settings
    assert template_of(person, scoring["prompt_version"]).instruction == ""
    assert rows[1].tune_job is not None
    assert template_of(person, rows[1].tune_job.settings["prompt_version"]).instruction == ASKING.instruction
