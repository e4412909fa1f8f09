"""Prompts over their life: versions, aliases and their record, restoring, and a deletion that takes nobody's ground away."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import reading, transaction
from app.domain import prompt as domain
from app.domain.access import Who
from app.domain.alias import PromptAlias
from app.domain.evaluation import Evaluation, Prediction
from app.domain.job import Job
from app.domain.model import Model, register_tuned
from app.domain.prompt import PromptVersion
from app.errors import Conflict, Invalid, NotFound
from app.services import evaluations, experiments, jobs, prompt_removal, prompts
from app.settings import settings
from tests.rows import add_dataset, add_model, answer_evaluation, claim


def tune(person: Who, model: int, dataset: str, prompt: int | str, method: str = "lora") -> Job:
    return jobs.start_tune(person, model=model, dataset=dataset, method=method, parameters={}, prompt_version=prompt, seed=0).job


FIRST: dict[str, Any] = {"instruction": "Sort the message.", "input_prefix": "Message:", "output_prefix": "Label:"}
SECOND: dict[str, Any] = {**FIRST, "instruction": "Sort the message well."}


@pytest.fixture
def two(person: Who) -> int:
    """A prompt with two versions."""
    key = prompts.create(person, "Routing", FIRST, "first try").prompt_id
    prompts.add_version(person, key, SECOND, "says how")
    return key


def test_a_version_keeps_its_message_author_and_place(person: Who, two: int) -> None:
    lines = prompts.history(person, two).lines
    assert [(line.version.number, line.version.message, line.author) for line in lines] == [(2, "says how", "Ada"), (1, "first try", "Ada")]


def test_saving_over_somebody_elses_newer_version_shows_it_and_saves_nothing(person: Who, two: int) -> None:
    mine = {**FIRST, "instruction": "Mine."}
    with pytest.raises(Conflict) as refused:
        prompts.add_version(person, two, mine, based_on=1)
    theirs = refused.value.detail["newest"]
    assert refused.value.code == "newer_version" and (theirs["version"], theirs["instruction"]) == (2, "Sort the message well.")
    assert len(prompts.versions(person, two)) == 2
    assert prompts.add_version(person, two, mine, based_on=2).number == 3
    assert prompts.add_version(person, two, mine, based_on=1).number == 3, "who wrote the same is no conflict"


def test_two_that_save_at_once_get_one_version_each(person: Who, two: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda word: prompts.add_version(person, two, {**FIRST, "instruction": word}).number, "abcd"))
    assert sorted(made) == [3, 4, 5, 6]


def test_an_alias_names_one_version_and_every_move_is_recorded(person: Who, two: int) -> None:
    prompts.set_alias(person, two, "production", 1)
    assert prompts.find(person, f"{two}@production")[1].number == 1
    prompts.set_alias(person, two, "production", 2)
    prompts.set_alias(person, two, "production", 2)
    prompts.set_alias(person, two, "staging", "production")
    found = prompts.history(person, two)
    assert found.aliases == {"production": 2, "staging": 2} and found.lines[0].aliases == ("production", "staging")
    prompts.drop_alias(person, two, "staging")
    moves = [(move.name, move.before, move.after, who) for move, who in prompts.history(person, two).moves]
    assert moves == [("staging", 2, None, "Ada"), ("staging", None, 2, "Ada"), ("production", 1, 2, "Ada"), ("production", None, 1, "Ada")]
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(PromptAlias)) == 1
    for gone in ("staging", "nobody"):
        with pytest.raises(NotFound):
            prompts.find(person, f"{two}@{gone}")


@pytest.mark.parametrize("name", ["Production", "1", "a b", "latest", "newest", "", "x" * 41, "é"])
def test_what_cannot_be_an_alias_is_refused_with_what_can(person: Who, two: int, name: str) -> None:
    with pytest.raises(Invalid, match=r"alias|means"):
        prompts.set_alias(person, two, name, 1)
    assert prompts.history(person, two).moves == []


def test_an_alias_is_fixed_into_what_was_started_by_it(person: Who, two: int, broker: str) -> None:
    prompts.set_alias(person, two, "production", 1)
    data, model = add_dataset(person).reference, add_model(person)
    job = tune(person, model, data, f"{two}@production")
    view = evaluations.create(person, model=model, prompt_version=f"{two}@production", dataset=data, split="validation")
    experiment = experiments.create(person, name="e", dataset=data, model=model, rungs=[{"technique": "zero_shot"}], prompt_version=f"{two}@production")
    prompts.set_alias(person, two, "production", 2)
    assert job.settings["prompt_version"] == view.job.settings["prompt_version"] == f"{two}@1"
    assert experiments.find(person, experiment).experiment.prompt_version_id == view.evaluation.prompt_version_id


def test_restoring_makes_an_old_version_the_newest(person: Who, two: int) -> None:
    restored = prompts.restore(person, two, 1)
    assert (restored.number, restored.instruction, restored.message) == (3, "Sort the message.", "Restored version 1")
    for number, error in ((3, Invalid), (9, NotFound)):
        with pytest.raises(error):
            prompts.restore(person, two, number)


def test_a_duplicate_is_a_prompt_of_its_own(person: Who, two: int) -> None:
    copy = prompts.duplicate(person, f"{two}@1")
    prompt, version = prompts.find(person, copy.prompt_id)
    assert (prompt.name, version.instruction, version.message) == ("Routing (copy)", "Sort the message.", "Copied from Routing v1")


def test_versions_are_compared_by_number_or_alias(person: Who, two: int) -> None:
    prompts.set_alias(person, two, "production", 1)
    found = prompts.compare(person, two, "production", 2)
    assert [(piece.kind, piece.text) for section in found.sections if section.changed for piece in section.pieces] == [
        ("same", "Sort the message"), ("added", " well"), ("same", "."),
    ]  # fmt: skip


def test_a_list_says_who_saved_last_and_where_aliases_stand(person: Who, two: int) -> None:
    prompts.set_alias(person, two, "production", 1)
    prompts.set_alias(person, two, "staging", 2)
    [(prompt, line)], following = prompts.listed(person)
    assert (prompt.name, line.version.number, line.author, line.aliases, following) == ("Routing", 2, "Ada", ("production v1", "staging"), None)


def test_export_and_import_are_exact(person: Who, two: int) -> None:
    prompts.add_version(person, two, {"mode": "chat", "messages": [{"role": "user", "content": "{input}"}], "parameters": {"temperature": 0.5, "seed": 3}})
    prompts.set_alias(person, two, "production", 1)
    told = prompts.export(person, two)
    copy = prompts.import_file(person, told["name"], told["versions"], told["aliases"])
    assert prompts.export(person, copy.prompt_id) == told and copy.prompt_id != two
    with pytest.raises(Invalid, match="which is not in the file"):
        prompts.import_file(person, "x", told["versions"], {"production": 9})
    with pytest.raises(Invalid, match="says the same"):
        prompts.import_file(person, "x", [FIRST, FIRST], {})
    assert len(prompts.recent(person)[0]) == 2, "a refused file leaves nothing"


def test_a_prompt_in_use_is_kept_and_its_users_are_named(person: Who, two: int, broker: str) -> None:
    data, model = add_dataset(person), add_model(person)
    job = tune(person, model, data.reference, two)
    experiment = experiments.create(person, name="ladder", dataset=data.reference, model=model, rungs=[{"technique": "zero_shot"}], prompt_version=two)
    with transaction() as session:
        version = prompts.find(person, two)[1].id
        register_tuned(session, person, name="mine", folder="x", content_hash="0", parameters=1, base_model_id=model, method="lora", prompt_version_id=version)
    with pytest.raises(Conflict) as refused:
        prompt_removal.remove(person, two)
    named = [(user["noun"], user["name"]) for user in refused.value.detail["users"]]
    assert refused.value.code == "in_use" and ("experiment", "ladder") in named and ("model", "mine") in named and ("job", job.name) in named
    assert "ladder" in refused.value.message and prompts.find(person, two) and experiments.find(person, experiment)


def test_the_wording_of_a_rung_whose_shots_were_drawn_is_in_use(person: Who, two: int, broker: str) -> None:
    """The rung asks with a version made of it, and the comparison's request names it."""
    rungs = [{"technique": "few_shot", "shots": 2, "prompt_version": two}]
    experiments.create(person, name="ladder", dataset=add_dataset(person).reference, model=add_model(person), rungs=rungs)
    assert [(user.noun, user.name) for user in prompt_removal.users(person, two)] == [("experiment", "ladder")]


def test_the_prompt_whose_text_a_soft_prompt_began_with_is_in_use(person: Who, two: int, broker: str) -> None:
    data, model = add_dataset(person), add_model(person)
    job = tune(person, model, data.reference, two, "prompt_tuning")
    assert job.settings["opening"] == f"{two}@2" != job.settings["prompt_version"]
    with transaction() as session:
        row = session.get_one(Job, job.id)
        register_tuned(session, person, name="soft", folder="x", content_hash="0", parameters=1, base_model_id=model, method="prompt_tuning", job_id=row.id)
    assert ("model", "soft") in [(user.noun, user.name) for user in prompt_removal.users(person, two)]


def test_a_prompt_goes_with_its_evaluations_and_leaves_the_others(person: Who, two: int, broker: str) -> None:
    data, model = add_dataset(person), add_model(person)
    other = prompts.create(person, "Other", {"instruction": "x"})
    for key in (two, other.prompt_id):
        evaluations.create(person, model=model, prompt_version=key, dataset=data.reference, split="validation")
        with transaction() as session:
            claimed = claim(session)
        answer_evaluation(claimed, 5)
    prompts.set_alias(person, two, "production", 1)
    assert prompt_removal.users(person, two) == []
    folders = [settings().storage_folder / "jobs" / str(key) for key in (1, 2)]
    for folder in folders:
        folder.mkdir(parents=True)
    prompt_removal.remove(person, two)
    assert [folder.exists() for folder in folders] == [False, True], "files go with their job"
    with reading() as session:
        assert session.scalars(select(Evaluation.prompt_version_id)).all() == [other.id]
        assert len(session.scalars(select(Prediction.evaluation_id).distinct()).all()) == 1 and session.scalar(select(func.count()).select_from(Job)) == 1
        assert session.scalars(select(PromptVersion.prompt_id)).all() == [other.prompt_id] and not session.scalars(select(PromptAlias)).all()
        assert session.scalar(select(func.count()).select_from(Model)) == 1
    with pytest.raises(NotFound):
        prompts.find(person, two)


def test_a_strangers_prompt_answers_like_a_missing_one(person: Who, two: int) -> None:
    stranger = Who(None, person.workspace_id + 1, "Eve", "admin")
    for refused in (
        lambda: prompts.set_alias(stranger, two, "production", 1),
        lambda: prompt_removal.remove(stranger, two),
        lambda: prompts.history(stranger, two),
    ):
        with pytest.raises(NotFound):
            refused()
    with reading() as session:
        assert domain.latest(session, two)
