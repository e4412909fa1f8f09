"""An experiment's table as its page draws it: one row a rung, all intervals on one axis, the verdict in a sentence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.figures import not_offered
from app.domain.job import FINAL, Job
from app.domain.ladder import Comparison
from app.domain.scheme import ACCURACY, METRICS, Metric, Shape
from app.domain.stats import Difference
from app.pages.formatting import Axis, axis, number, percent, points
from app.services.experiments import Ladder
from app.services.ladders import CellRow, RungRow

WORDS = {"better": "better", "worse": "worse", "tie": "tie", "at_most_margin_below": "at most {margin:g} below:", "cannot_tell": "cannot tell"}
"""What stands before the difference: the verdict, with the margin in points where it goes by that."""


@dataclass(frozen=True)
class Line:
    """One rung. What is not known yet is none, and the row is as high as it will be. `scores` are the test rows', else, provisional, those of
    validation rows."""

    position: int
    title: str
    sub: str
    state: str
    job: Job | None
    scores: Mapping[str, Any] | None
    comparison: Comparison | None
    verdict: str
    verdict_text: str
    request_cost: float | None
    validation: float | None
    trainable: int | None
    training_seconds: float | None
    labels: int
    validation_labels: int
    best: bool
    is_baseline: bool
    provisional: bool
    seeds: list[CellRow]
    cells: list[CellRow]
    """Of a grid all its cells, seeds apart; none where there is one combination."""
    chosen: int | None
    elsewhere: str
    """The device and dtype it ran on where that is another than most rungs': its times say nothing beside theirs."""
    trained_elsewhere: str
    """The same of its tuning."""
    rows_at: tuple[int, int] | None
    """The evaluations of this rung and of the baseline whose rows can be looked at side by side: those of one seed."""
    measured: str
    """How its figure came about, and what else was found, in words."""
    figure: Metric

    @property
    def pairs(self) -> dict[str, int] | None:
        """The rows by who has them right, this rung and the baseline: of one seed on either side, where right and wrong is what the figure goes by."""
        of = self.comparison.difference if self.comparison else None
        if of is None or of.by_row or not self.figure.of_right_rows or self.scores is None or self.rows_at is None:
            return None
        right = round(self.scores["accuracy"] * of.n)
        return {"both": right - of.gained, "gained": of.gained, "lost": of.lost, "neither": of.n - right - of.lost}

    @property
    def undecided(self) -> str:
        """Where it cannot be told from the baseline: from how many rows, and how many more would tell."""
        said = self.comparison.verdict if self.comparison else None
        return typographic(said.sentence) if said and said.kind == "cannot_tell" else ""

    @property
    def rows(self) -> str:
        """Which rows its figures are from."""
        return "validation" if self.provisional else "test"

    @property
    def seeds_lost(self) -> bool:
        """Whether some of its seeds can be run again, though the others stand."""
        return self.state == "succeeded" and any(one.state in ("failed", "cancelled") for one in self.seeds)

    @property
    def settings_count(self) -> int:
        return len({one.cell.number for one in self.cells})

    def named(self, one: CellRow) -> str:
        """A cell of the grid by what tells it from the others: its title, the prompt, and the parameters that differ."""
        parameters = [cell.cell.settings.get("parameters") or {} for cell in self.cells]
        differ = [name for name in parameters[0] if any(other.get(name) != parameters[0][name] for other in parameters)]
        own = one.cell.settings.get("parameters") or {}
        words = [f"{name.replace('_', ' ')} {own[name]}" for name in differ]
        asked = [cell.cell.settings.get("prompt_version") or ("" if cell.cell.settings.get("drawn") else cell.prompt.reference) for cell in self.cells]
        wording = one.cell.settings.get("prompt_version") or one.prompt.reference
        return ", ".join([one.title, *words, *([f"prompt {wording}"] if len({*asked} - {""}) > 1 else [])])

    @property
    def fraction(self) -> float | None:
        """How much of the present phase is done."""
        job = self.job
        counted = job is not None and job.state == "running" and job.phase in ("train", "evaluate") and job.total_steps
        return job.step / job.total_steps if job is not None and counted and job.total_steps else None

    @property
    def phase(self) -> str:
        """What the rung is doing, in a word."""
        if self.job is None or self.job.state != "running":
            return ""
        words = {"train": "training", "evaluate": "validating" if self.job.kind == "tune" else "scoring", "load": "loading", "save": "saving"}
        return words.get(self.job.phase or "", "starting")


def lines(ladder: Ladder) -> list[Line]:
    """The rungs in their order; under them the linear baseline, once it is there."""
    linear = [ladder.linear] if ladder.linear and (ladder.linear.scores or ladder.linear.validation) else []
    base = next((row for row in ladder.all_rows if row.rung.position == ladder.baseline), None)
    return [_line(ladder, row, base) for row in [*linear, *ladder.rows]]


def _beside(row: RungRow, base: RungRow | None) -> tuple[int, int] | None:
    if base is None or row.comparison is None or len(row.own) > 1 or len(base.own) > 1:
        return None
    tested = row.scores is not None and base.scores is not None
    pair = [one.lead.evaluation if tested else one.lead.validation for one in (row, base)]
    return (pair[0].id, pair[1].id) if pair[0] and pair[1] else None


def _line(ladder: Ladder, row: RungRow, base: RungRow | None) -> Line:
    scores = row.scores or row.validation
    is_baseline = row.rung.position == ladder.baseline
    return Line(
        row.rung.position,
        row.title,
        _sub(ladder, row),
        row.state,
        row.job,
        scores,
        row.comparison,
        "baseline" if is_baseline else row.comparison.verdict.kind if row.comparison else "",
        "" if row.comparison is None else _against(row.comparison, ladder.experiment.margin),
        row.request_cost,
        row.validation["value"] if row.validation else None,
        row.model.trainable_parameters if row.rung.tunes else None,
        row.model.training_seconds if row.rung.tunes else None,
        row.labels_used,
        row.validation_labels,
        ladder.recommendation is not None and ladder.recommendation.position == row.rung.position,
        is_baseline,
        row.scores is None and row.validation is not None,
        row.own,
        row.cells if len({one.cell.number for one in row.cells}) > 1 else [],
        row.rung.chosen,
        row.elsewhere,
        row.trained_elsewhere,
        _beside(row, base),
        measured_words(scores, ladder.experiment.figure, "validation" if row.scores is None else "test", tuned=row.rung.tunes) if scores else "",
        ladder.experiment.figure,
    )


def _against(comparison: Comparison, margin: float) -> str:
    """ "better +9.1"; where only the margin is kept, "at most 3 below: +9.0"."""
    return f"{WORDS[comparison.verdict.kind].format(margin=round(100 * margin, 1))} {points(comparison.difference.difference)}"


def _sub(ladder: Ladder, row: RungRow) -> str:
    """Under the title: where tuning was cut short, and what else stands behind the row."""
    cut = f"cut to {row.rung.settings['capped']:,} steps for a quick look" if "capped" in row.rung.settings else ""
    early = [one.tune_job.ended_early for one in row.own if one.tune_job and one.tune_job.ended_early]
    ended = " and ".join(f"ended by hand at step {step:,} of {planned:,}" for step, planned in early)
    wording = f"prompt {row.wording}" if row.wording else ""
    return ", ".join(word for word in (cut, ended, wording, _behind(ladder, row)) if word)


def _behind(ladder: Ladder, row: RungRow) -> str:
    """How many seeds stand behind it, the tuned model, or the seed of a draw of shots."""
    if len(row.own) > 1 and row.rung.chosen is not None:
        lost = f", {row.seeds_lost} failed" if row.seeds_lost else ""
        return f"{len(row.own)} {'seeds' if row.rung.tunes else 'draws'}{lost}"
    if row.rung.tunes and row.scores and row.model.id != row.rung.base(ladder.experiment):
        return row.model.name
    settings = row.settings
    if not settings.get("shots") or row.rung.chosen is None:
        return ""
    return f"drawn, seed {row.lead.cell.seed}" if settings.get("drawn", True) else "the prompt’s own"


def shared_axis(rows: Sequence[Line]) -> Axis:
    """The one axis of all whiskers. The majority is no rung: where it lies below, an arrow points at it."""
    scored = [line.scores for line in rows if line.scores]
    baseline = next((line.scores["value"] for line in rows if line.is_baseline and line.scores), None)
    return axis([end for scores in scored for end in scores["interval"]], baseline)


def heading(figure: Metric) -> str:
    """A figure's name as a column's title; one that is written in its own way, such as chrF, stays so."""
    return _capital(figure.title)


def _capital(words: str) -> str:
    first = words.split(maxsplit=1)[0]
    return words if not first.islower() and not first.istitle() else words[0].upper() + words[1:]


def measured_words(scores: Mapping[str, Any], figure: Metric, rows: str, *, tuned: bool) -> str:
    """Of a figure with its interval: "29 of 30 test rows right; Wilson, 95 %. Macro F1 0.967, off the list 0."."""
    seeds, n = scores["seeds"], scores["n"]
    binary = figure.name == ACCURACY.name
    over = "score interval of the rows\u2019 shares" if binary else "score interval over rows" if figure.by_row else "bootstrap over rows"
    if len(seeds) > 1:
        each = ", ".join(number(one) for one in seeds)
        first = f"{len(seeds)} {'seeds' if tuned else 'draws'} on {n:,} {rows} rows: {each}; {over}, 95 %."
    elif binary:
        first = f"{scores['correct']:,} of {n:,} {rows} rows right; Wilson, 95 %."
    else:
        first = f"{n:,} {rows} rows; {over}, 95 %."
    if scores.get("shape", "labels") == "labels":
        also = [("accuracy", scores["accuracy"]), ("macro F1", scores["macro_f1"])]
        words = [f"{title} {number(value)}" for title, value in also if title != figure.title] + [f"off the list {round(scores['off_list']):,}"]
        words += [] if not_offered(scores) is None else [f"label not offered {round(scores['not_offered']):,}"]
    else:
        known: Shape = scores["shape"]
        found = scores["metrics"]
        words = [f"{one.title} {number(found[name]['value'])}" for name, one in METRICS[known].items() if name in found and name != figure.name]
    words += [f"{one['name']} passed {percent(one['rate'])}" for one in scores.get("checks", [])]
    return f"{first} {_capital(words[0])}{''.join(f', {word}' for word in words[1:])}."


def rule(figure: Metric) -> str:
    """How a cheaper rung is shown to hold, in words."""
    if not figure.by_row:
        how = "the one-sided lower limit of a paired bootstrap over rows, at Holm\u2019s levels; p-values are those of swapping two rungs\u2019 answers within rows"
    elif figure.name == ACCURACY.name:
        how = "Tango\u2019s paired score test, one-sided, with Holm\u2019s correction; of several seeds the same of the rows\u2019 shares"
    else:
        how = "the score test of the rows\u2019 differences, one-sided, with Holm\u2019s correction"
    best = "the best one (which has to hold in the same way against the best of those that cost more)"
    return f"A cheaper rung is recommended when it is shown to be less than the margin below {best}: {how}."


def intervals(figure: Metric) -> str:
    """How scores get their intervals, and how differences are tested, in words."""
    if not figure.by_row:
        return "bootstraps over rows; tests swap two rungs\u2019 answers within rows"
    if figure.name == ACCURACY.name:
        return "Wilson, differences by Tango\u2019s interval and the exact McNemar test; of several seeds score intervals of the rows\u2019 shares and a permutation test"
    return "score intervals over rows; differences by a permutation test"


def tested(difference: Difference) -> str:
    """By which test and which interval two rungs were compared."""
    p = "p < 0.0001" if difference.p_value < 0.0001 else f"p = {number(difference.p_value, 4)}"
    if difference.draws is not None:
        return f"Answers swapped within rows, {p} (Holm); bootstrap interval, 95 %."
    return f"Permutation test {p} (Holm); score interval, 95 %." if difference.by_row else f"Exact McNemar {p} (Holm); Tango\u2019s interval, 95 %."


def verdict(ladder: Ladder) -> tuple[str, str]:
    """The sentence that stands first, and what to add to it in a lower voice."""
    over = sum(row.state in FINAL for row in ladder.rows)
    scored = sum((row.validation if ladder.provisional else row.scores) is not None for row in ladder.rows)
    total = len(ladder.rows)
    if ladder.recommendation is not None:
        sentence, aside = typographic(ladder.recommendation.verdict), ""
        if ladder.provisional:
            rows = next((row.validation["n"] for row in ladder.rows if row.validation), 0)
            aside = f"Provisional: on {rows:,} validation rows, by which settings were chosen as well."
        return sentence, aside if over == total else f"{aside} So far: {scored} of {total} rungs are scored.".strip()
    if over < total:
        return "No verdict yet.", f"{scored} of {total} rungs {'is' if scored == 1 else 'are'} scored; it takes two."
    return "No verdict.", f"Only {scored} of {total} rungs could be scored; it takes two."


def typographic(sentence: str) -> str:
    """A minus in front of a number as a minus sign, as in the table; a number and its per cent stay in one line."""
    return re.sub(r"-(?=\d)", "\u2212", re.sub(r"(?<=\d) %", "\u00a0%", sentence))


def measured(ladder: Ladder) -> dict[str, Any]:
    """How the figures came about, from the evaluations themselves."""
    shown = [scores for row in ladder.rows if (scores := row.scores or row.validation)]
    found = [scores["measured"] for scores in shown if scores.get("measured")]
    versions = [row.tune_job.result["versions"] for row in ladder.rows if row.tune_job and row.tune_job.result and row.tune_job.result.get("versions")]
    return {"where": found[-1] if found else {}, "versions": versions[-1] if versions else {}}
