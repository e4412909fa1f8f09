"""Importing: what is done about an upload that waits, and about one whose process died. Called by the importing child."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.db import reading, transaction
from app.domain import intake
from app.domain import upload as uploads
from app.domain.base import db_now
from app.domain.dataset import Dataset, DatasetVersion
from app.domain.upload import Dropped, Upload
from app.errors import FettleError
from app.readers import Note, Problem
from app.readers.foreseen import Foreseen
from app.readers.frames import Broken, Chunk, End, Found, Frame
from app.readers.names import misnamed
from app.readers.options import Options
from app.readers.preview import Preview, looking
from app.services import change_files, likeness, upload_files
from app.services.appending import BROKEN, Meeting, append_file, refused
from app.services.datasets import find
from app.services.filling import Filling
from app.services.pacing import Pace
from app.services.patience import Long, briefly, to_its_end
from app.services.presets import preset
from app.services.pulse import pulse
from app.services.upload_files import options_of, place
from app.services.versions import Watch, derive, purge_draft

TOLD_SECONDS = 0.4
"""How often a look says how far it is."""

COPIED, READ, PLACED = 0.1, 0.35, 0.5
"""Of making the next version, the shares that copying the older rows, reading the file and looking for what new rows resemble take; then they get their splits."""

CHANGED, CHANGED_PLACED = 0.9, 0.1
"""Of changing a version, the shares that copying its rows and placing those that got a label take."""

UNSEALED_MS = 3_600_000
"""An unsealed version without an upload is given so long."""

Reading = Callable[[Path, Options], Generator[Frame, None, None]]

LOST = {
    "code": "import_lost",
    "message": "The import was cut off: its process ended before its time. Nothing of it was stored.",
    "advice": "Upload the file again.",
}

LOST_CHANGE = {
    "code": "change_lost",
    "message": "The change was cut off: its process ended before its time. The version is as it was.",
    "advice": "Ask for it again.",
}


def run(key: int) -> None:
    """Do what an upload waits for. Nothing, when somebody else has it or nobody wants it any more."""
    with reading() as session:  # whatever a process does once, before its first look at the database, is done while nobody waits for the lock
        if session.get(Upload, key) is None:
            return
    with transaction() as session:
        claimed = uploads.claim(session, key)
    if claimed is not None:
        work(*claimed)


def work(upload: Upload, token: str) -> None:
    """Look at a claimed upload, import it, or make a version by it. What is wrong with the file is written into the row.

    Whatever happens, no row of a dataset that was not sealed is left.
    """
    with _held(upload, token):
        {"report": _look, "import": _import, "append": _append, "change": _change}[upload.aim](upload, token)


def work_briefly(upload: Upload, token: str) -> bool:
    """Import a claimed upload while its sender waits. False where that would take too long: nothing of it is stored then, and it waits for the importing child."""
    with _held(upload, token):
        try:
            _import(upload, token, briefly)
        except Long:
            with transaction() as session:
                begun = session.get_one(Upload, upload.id).dataset_id
            if begun is not None:
                purge(begun)
            try:
                with transaction() as session:
                    uploads.put_off(session, upload.id, token)
            except Dropped:
                clear(upload.id, LOST)
                return True
            return False
    return True


@contextmanager
def _held(upload: Upload, token: str) -> Iterator[None]:
    """It is somebody's while he works on it."""

    def hold() -> None:
        with transaction() as session:
            uploads.hold(session, upload.id, token)

    with pulse(hold, Dropped):
        yield


def report_of(found: Preview, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """A preview as its upload's row keeps it, with the values that a question offered, now or in an earlier report: one may choose again."""
    kept: dict[str, Any] = msgspec.to_builtins(found)
    asked = {problem.asks: list(problem.choices) for problem in found.problems if problem.asks in ("member", "sheet", "under")}
    kept["choices"] = {**((before or {}).get("choices") or {}), **asked}
    return kept


def _look(upload: Upload, token: str) -> None:
    """Read the file to its end, and write down what is in it, and how it meets the rows of the dataset it goes onto."""
    found, due = Preview(), 0.0
    error: dict[str, Any] | None = None
    meeting: Meeting | None = None
    foreseen = Foreseen()

    def take(chunk: Chunk) -> None:
        foreseen.take(chunk)
        if meeting is not None:
            meeting.take(chunk)

    with suppress(Dropped):
        try:
            meeting = Meeting(upload.person(), upload.onto.split("@")[0]) if upload.onto else None
            for found in looking(place(upload.file), options_of(upload.options), upload.filename, each=take):
                if time.monotonic() >= due:
                    due = time.monotonic() + TOLD_SECONDS
                    with transaction() as session:
                        uploads.hold(session, upload.id, token, share=found.share, rows=found.rows)
        except FettleError as refused:
            error = refused.as_dict()
        state = "refused" if error or found.problem_count else "ready"
        report = report_of(found, upload.report) | ({"meeting": meeting.told()} if meeting else {})
        report["warnings"] = foreseen.told(found.outputs)
        with transaction() as session:
            uploads.end(session, upload.id, token, state, report=report, error=error, share=found.share, rows=found.rows)


def _import(upload: Upload, token: str, read: Reading = to_its_end) -> None:
    """Store the file's rows as a dataset. A cancelled or refused import takes out again what it put in."""
    filling = Filling(upload, token)

    def fill() -> None:
        _pour(upload, filling, read)
        filling.finish()

    _stored(upload, fill)


def _append(upload: Upload, token: str) -> None:
    """The next version of a dataset with the file's rows in it: read as its report says, else as somebody said and the first file was."""
    person, path, wanted = upload.person(), place(upload.file), upload.cut
    watch = _Told(upload, token)

    def store() -> None:
        options = options_of(upload.options)
        if upload.report is None:
            options = preset(find(person, wanted["onto"]).version, path, options)
        append_file(person, wanted["onto"], path, upload.filename, options, wanted["reason"], wanted["repeats"], watch, upload.sha256)

    _stored(upload, store)


def _change(upload: Upload, token: str) -> None:
    """The next version of a dataset by a change of the rows that are there."""

    def store() -> None:
        person, onto = upload.person(), upload.cut["onto"]
        order = change_files.read(place(upload.file))
        derive(person, onto, change_files.change_of(order, person, onto), upload.cut["reason"], watch=_Changing(upload, token, order))

    _stored(upload, store)


class _Told(Watch):
    """Writes into an upload's row how far the version is that it makes. Raises Dropped once somebody has given it up."""

    copying, placing = COPIED, PLACED

    def __init__(self, upload: Upload, token: str) -> None:
        self._key, self._token, self._cut, self._due = upload.id, token, upload.cut, 0.0

    def told(self, draft: DatasetVersion, rows: int) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + TOLD_SECONDS
        share = self.copying * self.copied + READ * self.read + self.placing * self.placed
        with transaction() as session:
            uploads.hold(session, self._key, self._token, rows=rows, share=share, cut={**self._cut, "draft": draft.id})

    def ended(self, session: Session, version: DatasetVersion) -> None:
        made = {**self._cut, "made": version.number}
        uploads.end(session, self._key, self._token, "done", dataset_id=version.dataset_id, share=1.0, rows=version.rows, cut=made)


class _Changing(_Told):
    """Does with the version what has to be done in the moment it is made, too."""

    copying, placing = CHANGED, CHANGED_PLACED

    def __init__(self, upload: Upload, token: str, order: change_files.Order) -> None:
        super().__init__(upload, token)
        self._person, self._order = upload.person(), order

    def ended(self, session: Session, version: DatasetVersion) -> None:
        self._order.ended(session, self._person, version)
        super().ended(session, version)


def _stored(upload: Upload, store: Callable[[], object]) -> None:
    """Store rows of the file; when that comes to nothing, whatever the reason, take out again what was put in."""
    try:
        store()
    except Dropped:
        clear(upload.id, _lost(upload))
        return
    except FettleError as refused:
        # All that is wrong with a file can be read from it, as long as its upload is kept.
        clear(upload.id, refused.as_dict(), looked_at=upload.report is not None, keep=refused.code == BROKEN)
        return
    except (SystemExit, Long):  # told to end: taking its rows out may take longer than it is given, so whoever comes next does
        raise
    except BaseException:
        clear(upload.id, _lost(upload))
        raise
    upload_files.remove(upload.file)


def _lost(upload: Upload) -> dict[str, Any]:
    return LOST_CHANGE if upload.changes else LOST


def _pour(upload: Upload, filling: Filling, read: Reading) -> None:
    """The frames of the file into the dataset. Raises Invalid when the file has a problem; the first ones are told in full."""
    problems: list[Problem] = []
    told: list[Note] = []
    with closing(read(place(upload.file), options_of(upload.options))) as frames:
        for frame in frames:
            match frame:
                case Found(mapping=mapping) if mapping is not None:
                    filling.begin(frame)
                    told += [note] if (note := misnamed(upload.filename, frame.detected)) else []
                case Chunk() if not problems:
                    filling.take(frame)
                case Broken():
                    problems.append(frame.problem)
                case End() if frame.problems:
                    raise refused(problems, frame.problems)
                case End():
                    filling.note([*told, *frame.notes])


def clear(key: int, error: dict[str, Any] | None = None, *, looked_at: bool = False, keep: bool = False) -> None:
    """Take out everything an upload has put in, its file included unless it is to be kept. The row stays to tell the `error`, unless somebody cancelled it.

    One that somebody had looked at goes back to its report with its file: other columns may be all it takes. Safe to be called twice, and by several at once.
    """
    with transaction() as session:
        upload = session.get(Upload, key)
        if upload is None or upload.state == "done":
            return
        uploads.give_up(session, key)
        dataset, draft, file = upload.dataset_id, upload.cut.get("draft"), upload.file
    if not (looked_at or keep):
        upload_files.remove(file)
    if dataset is not None:
        purge(dataset, key)
    if draft is not None:
        purge_draft(draft)
    with transaction() as session:
        # It may be cancelled up to this moment: taking rows out takes seconds.
        told = error is not None and (uploads.hand_back if looked_at else uploads.fail)(session, key, error)
        if not told:
            session.execute(delete(Upload).where(Upload.id == key))
    if not told:
        upload_files.remove(file)


def lost(key: int) -> None:
    """The process that worked on an upload was killed: what it put in goes, and the row says so."""
    with reading() as session:
        upload = session.get(Upload, key)
    if upload is not None and upload.state in uploads.HELD:
        clear(key, _lost(upload))


def purge(dataset: int, upload: int | None = None) -> None:
    """Delete a dataset that was never sealed, its rows in short writes."""
    pace, gone = Pace(), 1
    mine = select(DatasetVersion.id).where(DatasetVersion.dataset_id == dataset)
    while gone:
        with transaction() as session:
            if upload is not None:
                uploads.give_up(session, upload)
            began = time.perf_counter()
            size = pace.size
            gone = intake.take_out(session, mine, size)
        pace.took(size, time.perf_counter() - began)
    with transaction() as session:
        session.execute(delete(DatasetVersion).where(DatasetVersion.dataset_id == dataset))
        session.execute(delete(Dataset).where(Dataset.id == dataset))


def sweep() -> int:
    """Clear what killed processes left behind, and what nobody has wanted for a day. Returns how many things there were."""
    with reading() as session:
        lost = [(upload.id, _lost(upload)) for upload in uploads.lost(session)]
        old = [upload.id for upload in uploads.forgotten(session)]
        orphans = list(session.scalars(_unsealed()))
    for key, error in lost:
        clear(key, error)
    for key in old:
        clear(key)
    for dataset in orphans:
        purge(dataset)
    with transaction() as session:
        session.execute(delete(Upload).where(Upload.id.in_(old)))
        known = set(session.scalars(select(Upload.file).where(Upload.state != "done")))
    return len(lost) + len(old) + len(orphans) + upload_files.remove_unknown(known) + likeness.sweep()


def _unsealed() -> Select[int]:
    """Datasets whose first version was never sealed, and that no upload is working on."""
    working = select(Upload.dataset_id).where(Upload.dataset_id.is_not(None), Upload.state.in_(uploads.HELD))
    # Datasets that are being deleted have no beginning any more: app/services/removal.py takes them away.
    begun = (DatasetVersion.created_at > 0, DatasetVersion.created_at < db_now() - UNSEALED_MS)
    old = (DatasetVersion.sealed_at.is_(None), DatasetVersion.number == 1, *begun)
    return select(DatasetVersion.dataset_id).where(*old, DatasetVersion.dataset_id.not_in(working))
