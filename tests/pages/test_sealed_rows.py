"""No door shows a sealed row: every GET of pages and API is walked, with rows that would be recognised anywhere."""

import re

from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import engine, transaction
from app.domain import chore as chores
from app.domain import prompt as prompts
from app.domain.access import Who
from app.domain.chore import Chore
from app.domain.dataset import DatasetVersion
from app.domain.lineage import Drop, Keep, Relabel
from app.services import chores as background
from app.services import evaluations, reserve, versions
from app.services.versions import New, derive
from tests.rows import add_model, answer_evaluation, claim
from tests.services.uploading import now
from tests.unhealthy import add, text

SECRET = "xyzzy"
QUERIES = (
    "",
    "?split=test",
    "?split=reserve",
    "?split=unlabelled",
    "?since=1",
    "?since=1&kind=removed",
    "?since=1&kind=changed",
    "?since=2&kind=moved",
    "?q=number",
    "?q=number&split=test",
    "?q=number&split=reserve",
    "?format=jsonl",
    "?format=csv",
)


def filled(person: Who) -> None:
    """Five versions, each with its search index, whose test rows hold the word: duplicated, mislabelled, dropped, moved to a reserve, scored."""
    rows = [(text(number), "ab"[number % 2], "train" if number < 40 else "validation") for number in range(50)]
    secret = [(f"{SECRET} {text(100 + number)}", ("a", "b", "A", "N/A")[number % 4], "test") for number in range(20)]
    version = add(person, [*rows, *secret, *secret[:3], (secret[4][0], "b", "test")])
    second = now(reserve.set_aside(person, "1")).version
    test = [row["id"] for row in versions.values(second) if row["split"] == "test"]
    derive(person, "1", Drop(frozenset(test[:2])))
    derive(person, "1", Relabel({"N/A": None}))
    derive(person, "1", Keep("append"), added=[[New(f"{SECRET} and something new", "a", "test")]])
    with transaction() as session:
        prompt = prompts.default(session, person).reference
        unindexed = session.scalars(select(DatasetVersion.id).where(DatasetVersion.id.not_in(select(Chore.version_id)))).all()
        for key in unindexed:
            chores.add(session, key, 0, ["search"])
        waiting = session.scalars(select(Chore.id).where(Chore.kind == "search")).all()
    for key in waiting:
        background.run(key)
    evaluations.create(person, model=add_model(person), prompt_version=prompt, dataset=version.reference)


def queries_of(place: str) -> list[str]:
    """All of them on SQLite. Doors are the same on PostgreSQL, but for the search: there those with words to find, beside the bare door."""
    if "/datasets" not in place:
        return [""]
    on_sqlite = engine().dialect.name == "sqlite"
    return [query for query in QUERIES if on_sqlite or not query or "q=" in query]


def test_no_door_shows_a_sealed_row(browser: TestClient, person: Who) -> None:
    filled(person)
    with transaction() as session:
        job = claim(session)
    answer_evaluation(job, 5)
    found = browser.get("/datasets/1@1/health").text
    codes = re.findall(r"/health/(\w+)", found)
    assert {"duplicates", "conflicting_labels", "look_alike_labels", "missing_markers"} <= set(codes)
    references = ("1", "1@1", "1@2", "1@4")
    places = [
        f"/datasets/{reference}{end}"
        for reference in references
        for end in (
            "",
            "/background",
            "/versions",
            "/health",
            "/diff",
            "/export",
            "/append",
            "/labels",
            "/grid",
            "/queue",
            *(f"/health/{code}" for code in codes),
        )
    ]
    places += [
        f"/api/v1/datasets/{reference}{end}"
        for reference in references
        for end in (
            "",
            "/examples",
            "/versions",
            "/health",
            "/diff",
            "/export",
            "/labels",
            "/labels/proposals",
            "/queue",
            *(f"/health/{code}/examples" for code in codes),
        )
    ]
    places += [
        "/",
        "/lab?dataset=1",
        "/jobs/1",
        "/jobs/new?dataset=1",
        "/experiments/new?dataset=1",
        "/api/v1/evaluations/1",
        "/api/v1/evaluations/1/predictions",
        *(f"{place}/{row}" for place in ("/evaluations/1/rows", "/api/v1/evaluations/1/predictions") for row in range(1, 80, 7)),
        "/evaluations",
        "/evaluations/1",
        "/evaluations/1?only=wrong",
        "/api/v1/jobs/1",
    ]
    answered = 0
    for place in places:
        for query in queries_of(place):
            answer = browser.get(place + query)
            assert answer.status_code < 500 and SECRET not in answer.text, (place + query, answer.status_code)
            answered += answer.status_code == 200
    assert answered > 200, "the walk went through open doors"


def test_the_walk_would_see_a_row(browser: TestClient, person: Who) -> None:
    filled(person)
    assert browser.post("/datasets/1@1/reveal", data={"reason": "to see the word"}).status_code == 303
    found = "/datasets/1@1?split=test&q=number"
    for place in (
        "/datasets/1@1?split=test",
        found,
        "/datasets/1@3/diff?since=1&kind=removed",
        "/datasets/1@1/export?format=csv",
        "/api/v1/datasets/1@1/examples",
    ):
        assert SECRET in browser.get(place).text, place
