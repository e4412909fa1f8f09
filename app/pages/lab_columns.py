"""The Lab's columns: whether an engine answers, rows to try, answers that were marked, and columns tested over a split."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from app.domain.access import Who
from app.domain.fitting import POLICIES, Policy
from app.domain.generation import Parameters
from app.domain.mark import Mark
from app.domain.notebook import Run
from app.domain.prompt import fields_of
from app.doors import Person
from app.errors import Conflict, FettleError
from app.pages.editor import Words
from app.pages.render import fragment, page
from app.services import fits, lab, marks, notebook, testing
from app.services.readiness import engine
from app.services.testing import Column, Line, Wanted

router = APIRouter(prefix="/lab")

MARKS = 50
CHIPS = 24
TICKETS = 100
MOST_JUDGED = 100


@router.get("/engine")
def engine_there(person: Person) -> dict[str, bool]:
    """Can a local model answer? Asked every second by a page that is looked at."""
    del person
    return {"engine": engine()}


@router.get("/rows")
def rows(
    person: Person, dataset: str, split: str, count: Annotated[int, Query(ge=1, le=lab.MOST_ROWS)] = 8, seed: Annotated[int, Query(ge=0, le=2**31)] = 0
) -> dict[str, Any]:
    """Rows drawn from a split, the same for the same seed: {rows: [{values, gold, row}]}, `row` counted from 1. Test rows stay behind their seal."""
    found = lab.rows(person, dataset, split, count, seed)
    return {"rows": [{**asdict(one), "row": place + 1} for place, one in found]}


class AnsweredRow(BaseModel):
    """Answers to a row of a dataset: the row's place, as its gold answer came with it, and the saved prompt that was asked, if one was."""

    model_config = ConfigDict(extra="ignore")

    dataset: str
    split: str
    place: int = Field(ge=0, le=2**31)
    texts: list[str] = Field(max_length=8)
    prompt_version: str | None = None


class ToJudge(BaseModel):
    rows: list[AnsweredRow] = Field(max_length=MOST_JUDGED)


@router.post("/judge")
def judge(person: Person, body: ToJudge) -> dict[str, Any]:
    """{judged}: for each row which of its answers are right, as an evaluation judges them; "shown" where the prompt has the row among its shots, null where it has
    no gold answer, or none to be seen any more."""
    return {"judged": [_judged(person, row) for row in body.rows]}


def _judged(person: Who, row: AnsweredRow) -> list[bool] | str | None:
    try:
        return lab.judged(person, row.dataset, row.split, row.place, row.texts, row.prompt_version)
    except FettleError as error:
        return error.code if isinstance(error, Conflict) else None


@router.get("/answers")
def answers(person: Person, ticket: Annotated[list[str], Query(max_length=TICKETS)]) -> dict[str, Any]:
    """Runs of the notebook, by their tickets, as the cells show them that had asked for them: {ticket: run}. One that goes on is not among them yet."""
    runs = notebook.answered(person, ticket)
    thought = marks.on_runs(person, runs)
    return {run.ticket or "": _answer(run, thought[run.id]) for run in runs}


def _answer(run: Run, thought: list[Mark | None]) -> dict[str, Any]:
    told = {name: getattr(run, name) for name in ("reason", "error", "input_tokens", "output_tokens", "latency_ms", "cost", "weighing", "created_at")}
    wording = {"prompt_version": run.prompt_version} if run.prompt_version else {"prompt": run.prompt}
    return {
        "texts": run.texts or [run.output],
        "logprobs": notebook.logprobs_of(run),
        "labels": notebook.labels_of(run),
        "prompt": run.prompt,
        "marks": [mark and {"thumb": mark.thumb, "note": mark.note} for mark in thought],
        "asked": {"column": {"model": run.model_id, **wording, "parameters": run.parameters}, "variables": run.variables},
        **told,
    }


@router.get("/marks")
def marked(request: Request, person: Person, after: Annotated[int | None, Query(ge=1)] = None) -> HTMLResponse:
    """Answers that somebody marked, newest first."""
    found, following = marks.recent(person, after, MARKS)
    return page(request, "lab/marks.html", person, "lab", marks=found, following=following, paged=after is not None)


class AskedColumn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    model: int
    prompt: Words | None = None
    prompt_version: str | None = None
    parameters: Parameters = Parameters()
    latency_ms: float | None = None

    def plain(self) -> Column:
        prompt = fields_of(self.prompt.template) if self.prompt else None
        return Column(self.model, prompt, self.prompt_version, self.parameters.model_dump(exclude_defaults=True), self.latency_ms)


class AskedTest(BaseModel):
    """The dialog: columns, rows and how to score. `every`: all models with all prompts. `under`: the prompt that the editor's draft belongs to, `based_on`
    the version it was made from. `nearest`: its shots follow the input. `fit`: what happens to rows that are too long."""

    columns: list[AskedColumn] = Field(min_length=1, max_length=6)
    dataset: str
    split: Literal["validation", "train"] = "validation"
    answer: Literal["likelihood", "generate"] = "generate"
    limit: int | None = Field(None, ge=1)
    every: bool = False
    under: int | None = None
    based_on: int | None = None
    nearest: bool = False
    fit: Policy = "refuse"

    def wanted(self) -> Wanted:
        return Wanted(self.dataset, self.split, self.answer, self.limit, self.every, self.under, self.based_on, self.fit)


@dataclass(frozen=True)
class Total:
    """All lines together; `seconds` and `cost` are none as soon as one of them is not known."""

    rows: int
    seconds: float | None
    cost: float | None


def _total(lines: list[Line]) -> Total:
    seconds, costs = [line.seconds for line in lines], [line.cost for line in lines]
    return Total(
        sum(line.rows for line in lines),
        None if None in seconds else sum(value or 0.0 for value in seconds),
        None if None in costs else sum(value or 0.0 for value in costs),
    )


@router.post("/test/plan")
def plan(person: Person, body: AskedTest) -> HTMLResponse:
    """What the test would take, before it is one."""
    found = testing.plan(person, [column.plain() for column in body.columns], body.wanted())
    return fragment(
        "lab/_plan.html",
        plan=found,
        places=(testing.DRAFT.format(found.dataset.name), testing.VARIANTS.format(found.dataset.name)),
        total=_total(found.lines),
        split=body.split,
        nearest=body.nearest,
        labels=len(found.version.label_texts()),
        refuses=POLICIES["refuse"],
        ok=not any(line.problem for line in found.lines),
    )


@router.post("/test/fit")
async def fit(person: Person, body: AskedTest) -> dict[str, Any]:
    """How the rows that the test takes fit each line of the plan, in its order: {fits: [{sentence, too_long}]}. Where nobody knows, the sentence says why, and
    `too_long` is none."""
    wanted = body.wanted()
    found = await to_thread.run_sync(lambda: testing.plan(person, [column.plain() for column in body.columns], wanted))
    return {"fits": [await _fit(person, line, wanted) for line in found.lines]}


async def _fit(person: Who, line: Line, wanted: Wanted) -> dict[str, Any]:
    if line.problem:
        return {"sentence": "", "too_long": None}
    try:
        found = await fits.fit(await to_thread.run_sync(lambda: testing.fit_of(person, line, wanted)))
    except FettleError as error:
        return {"sentence": f"Whether the rows fit is not known yet: {error.message} {error.advice}", "too_long": None}
    return {"sentence": found.sentence, "too_long": found.too_long}


@router.post("/test", response_model=None)
def start(person: Person, body: AskedTest) -> dict[str, Any] | Response:
    """Start it: {jobs, opened}; `opened` is the saved version that the first column's prompt is now. 409 with the newest version, when the draft was made from an older one."""
    try:
        done = testing.start(person, [column.plain() for column in body.columns], body.wanted())
    except FettleError as error:
        return JSONResponse({"error": error.as_dict()}, error.status)
    opened = {"id": done.prompt.id, "name": done.prompt.name, "version": done.version.number, "reference": done.version.reference}
    return {"jobs": [view.job.id for view in done.views], "opened": opened}


@router.get("/tests")
def tests(person: Person, job: Annotated[list[int], Query(max_length=CHIPS)]) -> HTMLResponse:
    """The chips of the bar: where each test stands now."""
    return fragment("lab/_chips.html", tests=testing.tests(person, job))
