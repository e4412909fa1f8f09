"""Validation in mid-training: by each measure, on both families of models, without a trace in the model; and the rows a person watches."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.generation import Parameters
from app.domain.label_book import LabelBook
from app.domain.methods import METHODS
from app.domain.rendering import DEFAULT, Template, render
from app.domain.scoring import exact_match, rouge_l
from app.domain.validation import MEASURES
from app.errors import Invalid
from tests.engine.conftest import toy_rows, toy_spec
from worker.engine.answers import LEAST_ROWS, draw, to_compare, to_watch
from worker.engine.fit import fit_examples
from worker.engine.generate import complete, prepare
from worker.engine.load import Loaded, load
from worker.engine.methods import METHODS as HALVES
from worker.engine.reporting import NullReporter, Stopped
from worker.engine.train import train
from worker.engine.validate import Validation, evaluating

RATES = {"prompt_tuning": 3e-2, "p_tuning": 5e-3, "prefix": 2e-2, "lora": 2e-2, "full": 5e-3}


@pytest.fixture(params=["decoder", "translator"])
def base(request: pytest.FixtureRequest, tiny: Path, translator: Path) -> Path:
    return tiny if request.param == "decoder" else translator


def questions_of(loaded: Loaded, count: int = 10, rows: int = 10) -> Any:
    given = toy_rows(rows)
    examples, _ = fit_examples(loaded.tokenizer, DEFAULT, given, 64)
    return draw(loaded, DEFAULT, given, examples, count=count, seed="1", most_tokens=to_compare), examples


def best_of(reporter: NullReporter, name: str, sign: int) -> int:
    """The step whose validation is best, by the measure and then by the loss: the first of equals."""
    losses, points = reporter.points("validation_loss"), reporter.points(f"validation_{name}")
    return max((step for step in points if step > 0), key=lambda step: (sign * points[step], -losses[step], -step))


@pytest.mark.parametrize("name", MEASURES)
def test_the_best_moment_is_chosen_by_the_measure_asked_for(base: Path, tmp_path: Path, name: str) -> None:
    reporter, measure = NullReporter(), MEASURES[name]
    spec = toy_spec(base, tmp_path, max_steps=12, evaluations=3, validate_by=name, learning_rate=6e-2)
    result = train(spec, reporter)
    points = reporter.points(measure.point)
    assert set(points) == {0, 4, 8, 12} == set(reporter.points("validation_loss"))
    assert result.best_step == best_of(reporter, name, measure.sign)
    assert (result.best_value, result.measure, result.validated_rows) == (points[result.best_step or 0], measure.point, 10)
    others = {other.point for other in MEASURES.values()} - {measure.point, "validation_loss"}
    told = {name for _, _, values, _ in reporter.steps for name in values} & others
    assert told == ({"validation_accuracy", "validation_macro_f1"} - {measure.point} if measure.by_labels else set())


def test_two_measures_may_choose_two_moments(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loss and exact match made to disagree, as they do when a model grows sure of wrong answers.
    worse = iter([0.0, 0.2, 0.9, 0.1, 0.3])
    monkeypatch.setattr("worker.engine.validate.exact_match", lambda *_: next(worse))
    result = train(toy_spec(tiny, tmp_path / "match", max_steps=8, evaluations=4, validate_by="exact_match"), NullReporter())
    assert (result.best_step, result.best_value) == (4, 0.9)
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path / "loss", max_steps=8, evaluations=4, validate_by="loss"), reporter)
    assert result.best_value == min(value for step, value in reporter.points("validation_loss").items() if step)


def test_a_run_stops_early_by_its_measure_though_the_loss_still_falls(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count(1)
    monkeypatch.setattr("worker.engine.validate.rouge_l", lambda *_: 1 / next(asked))
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, max_steps=40, evaluations=20, early_stopping=2, validate_by="rouge_l"), reporter)
    losses = [value for step, value in reporter.points("validation_loss").items() if step]
    assert result.steps == 6 and result.best_step == 2
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(("method", "name"), [("lora", "exact_match"), ("p_tuning", "rouge_l")])
def test_a_run_that_writes_answers_still_goes_on_bit_for_bit(base: Path, tmp_path: Path, method: str, name: str) -> None:
    def spec(folder: str, **more: object) -> Any:
        return toy_spec(base, tmp_path / folder, method, validate_by=name, learning_rate=RATES[method], **more)

    control, first, second = NullReporter(), NullReporter(stop_after=5), NullReporter()
    whole = train(spec("whole"), control)
    with pytest.raises(Stopped):
        train(spec("halves"), first)
    resumed = train(spec("halves", resume=True), second)
    for point in ("loss", "grad_norm", "validation_loss", MEASURES[name].point):
        assert {**first.points(point), **second.points(point)} == control.points(point)
    assert sorted({*first.samples, *second.samples}) == sorted(control.samples)
    assert [file.read_bytes() for file in sorted(whole.artefact.glob("*.safetensors"))] == [
        file.read_bytes() for file in sorted(resumed.artefact.glob("*.safetensors"))
    ]


def test_the_measure_changes_nothing_of_the_training(tiny: Path, tmp_path: Path) -> None:
    losses = []
    for name in ("loss", "accuracy", "exact_match"):
        reporter = NullReporter()
        train(toy_spec(tiny, tmp_path / name, validate_by=name), reporter)
        losses.append(reporter.points("loss"))
    bare = NullReporter()
    train(toy_spec(tiny, tmp_path / "bare", validation=[]), bare)
    assert losses == [bare.points("loss")] * 3, "and neither do validations nor samples"


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_the_same_rows_before_the_first_step_and_at_each_validation(base: Path, tmp_path: Path, method: str) -> None:
    reporter = NullReporter()
    result = train(toy_spec(base, tmp_path, method, validation=toy_rows(20), learning_rate=RATES[method]), reporter)
    by_step: dict[int, list[tuple[int, str, str]]] = {}
    for step, row, text, gold, _ in reporter.samples:
        by_step.setdefault(step, []).append((row, text, gold))
    assert set(by_step) == {0, 4, 8, 12}
    rows = by_step[0]
    assert len({row for row, _, _ in rows}) == 5 and all(told == rows for told in by_step.values())
    assert all((values["input"], answer) == (text, gold) for row, text, gold in rows for values, answer in [toy_rows(20)[row - 1]])
    # What was told at the end of the run is what the loaded artefact writes, if that moment was kept.
    if result.best_step == 12:
        tuned = load(base, adapter=result.artefact, device="cpu") if method != "full" else load(result.artefact, device="cpu")
        prompts = [prepare(tuned, render(DEFAULT, {"input": text}), Parameters(max_tokens=16)) for _, text, _ in rows]
        assert [one.text for one in complete(tuned, prompts)] == [text for step, *_, text in reporter.samples if step == 12]


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # peft's own way of writing
@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.soft])
def test_a_soft_prompt_in_training_answers_as_its_present_virtual_tokens_say(base: Path, tmp_path: Path, method: str) -> None:
    spec = toy_spec(base, tmp_path, method)
    loaded = load(base, device="cpu")
    model = HALVES[method](loaded.model, spec.parameters, [5, 6, 7]).train()
    training = replace(loaded, model=model)
    questions, _ = questions_of(training)
    before = questions.texts(lambda: False)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.requires_grad:
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)) * 3)
    after = questions.texts(lambda: False)
    assert before != after
    with evaluating(model):
        plain = [model.generate(input_ids=(ids := torch.tensor([prompt.ids])), attention_mask=torch.ones_like(ids), max_new_tokens=6, min_new_tokens=6,
                                do_sample=False)[0, -6:].tolist() for prompt in questions.prompts[:3]]  # fmt: skip
        again = replace(questions, prompts=[replace(prompt, parameters=Parameters(max_tokens=6, min_tokens=6), stops=()) for prompt in questions.prompts])
        ours = again.texts(lambda: False)[:3]
    assert ours == [loaded.tokenizer.decode(row, skip_special_tokens=True).rstrip("\ufffd") for row in plain]


def test_answers_are_scored_as_they_are_written(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    questions, examples = questions_of(loaded)
    texts = questions.texts(lambda: False)
    for name, value in (
        ("exact_match", exact_match(questions.golds, texts)),
        ("rouge_l", sum(rouge_l(gold, text) for gold, text in zip(questions.golds, texts, strict=True)) / 10),
    ):
        ticks: list[tuple[int, int]] = []
        validation = Validation(examples, MEASURES[name], asked=questions)
        values = validation.run(loaded.model, lambda done, total, ticks=ticks: ticks.append((done, total)), lambda: False)  # type: ignore[misc]
        assert values[f"validation_{name}"] == value and set(values) == {f"validation_{name}", "validation_loss"}
        assert ticks[-1] == (20, 20) and ticks == sorted(ticks)


def test_another_spelling_of_a_label_is_right_in_training_too(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    questions, examples = questions_of(loaded)
    asked = replace(questions, golds=["yes"] * len(questions.golds))
    written = [LabelBook().answer_in(text).partition("\n")[0].rstrip() for text in asked.texts(lambda: False)]
    for aliases, share in (({}, 0.0), ({"yes": written}, 1.0)):
        book = LabelBook.of_texts(["yes", "no"], aliases)
        values = Validation(examples, MEASURES["exact_match"], asked=asked, book=book).run(loaded.model, lambda *_: None, lambda: False)
        assert values["validation_exact_match"] == share


def test_validation_leaves_every_module_in_the_mode_it_was_in_and_the_random_numbers_alone(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    questions, examples = questions_of(loaded)
    model = loaded.model.train()
    model.model.layers[1].eval()  # as a person may freeze a part
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    validation = Validation(examples, MEASURES["exact_match"], asked=questions, samples=questions)
    validation.run(model, lambda *_: None, lambda: False)
    assert len(validation.watched(model, lambda: False)) == 10
    with pytest.raises(Stopped):
        validation.watched(model, lambda: True)
    assert [module.training for module in model.modules()] == modes and torch.equal(torch.get_rng_state(), state)


def test_the_same_seed_asks_the_same_rows_and_their_answers_have_room(tiny: Path) -> None:
    loaded = load(tiny, device="cpu")
    one, examples = questions_of(loaded, count=64, rows=200)
    two, _ = questions_of(loaded, count=64, rows=200)
    assert one.rows == two.rows and len(set(one.rows)) == 64
    longest = max(len(examples[row - 1].answer) for row in one.rows)
    assert {prompt.parameters.max_tokens for prompt in one.prompts} == {longest + 4}
    assert (to_watch(1), to_watch(10), to_watch(500), to_compare(9000)) == (16, 20, 48, 4096)


def test_a_small_budget_asks_fewer_rows_but_never_too_few(tiny: Path) -> None:
    questions, examples = questions_of(load(tiny, device="cpu"), count=64, rows=200)
    validation = Validation(examples, MEASURES["rouge_l"], asked=questions)
    assert validation.within(10**9, 1).rows == 64
    assert validation.within(questions.tokens, 1).rows == 32
    small = validation.within(1, 1)
    assert small.rows == LEAST_ROWS and len(small.examples) == 64 and small.asked and list(small.asked.rows) == list(questions.rows[:LEAST_ROWS])


def test_rows_with_several_variables_are_shown_with_their_names(tiny: Path, tmp_path: Path) -> None:
    template = Template("freeform", text="{title}: {body}\nLabel:")
    rows = [({"title": f"t{number}", "body": f"b{number}", "unused": "x"}, "positive") for number in range(6)]
    reporter = NullReporter()
    train(toy_spec(tiny, tmp_path, template=template, train=rows, validation=rows, max_steps=1, evaluations=1), reporter)
    assert {text for _, _, text, _, _ in reporter.samples} <= {f"title: t{number}\nbody: b{number}" for number in range(6)}


def test_without_validation_rows_there_are_no_samples(tiny: Path, tmp_path: Path) -> None:
    reporter = NullReporter()
    result = train(toy_spec(tiny, tmp_path, validation=[], max_steps=2), reporter)
    assert reporter.samples == [] and (result.best_value, result.validated_rows) == (None, 0)


def test_a_stop_while_samples_are_written_takes_the_validation_up_again(tiny: Path, tmp_path: Path) -> None:
    class Impatient(NullReporter):
        """Asks to stop in the middle of the samples of step 4: all ten rows of its validation are scored by then."""

        def should_stop(self) -> bool:
            return self.phases.count(("evaluate", 10)) > 1 and self.ticks[-1][0] == 10

    first, second = Impatient(), NullReporter()
    with pytest.raises(Stopped):
        train(toy_spec(tiny, tmp_path), first)
    assert {step for step, *_ in first.samples} == {0}
    train(toy_spec(tiny, tmp_path, resume=True), second)
    assert {step for step, *_ in second.samples} == {4, 8, 12}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validate_by": "accuracy", "labels": ()}, "validate_by is accuracy, which compares labels, but the answers are free text"),
        ({"validate_by": "macro_f1", "labels": ()}, "macro_f1, which compares labels"),
        ({"validate_by": "exact_match", "validation": []}, "there are no validation rows"),
        ({"validate_by": "rouge_l", "labels": (), "validation": [({"input": "x"}, "да")]}, "no validation answer has any"),
    ],
)
def test_a_measure_that_cannot_be_taken_is_refused_before_anything_is_loaded(tiny: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    reporter = NullReporter()
    with pytest.raises(Invalid, match=said) as refused:
        train(toy_spec(tiny, tmp_path, **changes), reporter)
    assert refused.value.code == "cannot_validate" and refused.value.advice and reporter.phases == []
