"""Uploads: files on their way to a dataset. The row says how far one is; the only place where an upload's state changes.

Whoever works on an upload holds it through a lease: `claim` hands out a token, every later write carries it and raises Dropped once
it no longer matches. So an upload that was cancelled, asked to be read otherwise, or given up for lost is written to by nobody.
"""

import secrets
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ForeignKey, Table, bindparam, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned, visible, write
from app.domain.base import Base, Json, Owned, db_now
from app.errors import Conflict

STATES = ("waiting", "reading", "ready", "refused", "importing", "cancelling", "done", "failed")
HELD = ("reading", "importing", "cancelling")
"""Somebody works on it."""

ACTIVE = ("waiting", *HELD)
DECIDABLE = ("waiting", "reading", "ready", "refused")
"""How it is read may still be changed."""

LEASE_MS = 12_000
KEPT_MS = 24 * 3_600_000
"""How long an upload that nobody goes on with is kept, with its file; and how long the row of an ended one."""


class Dropped(Exception):
    """The upload was cancelled or taken back: nothing more may be written for it."""


class Upload(Owned, Base):
    """`file` names the stored bytes in the upload folder, `sha256` is theirs. `options` say how it is read, `cut` how it is split (splits, seed, group) and what its labels are called (displays, by key).

    `aim` is what it waits for: report (to be looked at), import, append, or change: then the file says what is done to the rows of a version, which is long,
    and `filename` says it in words. Where it makes the next version of a dataset, `cut` says of which
    version (onto, reason, repeats), and which one is in the making (draft) and was made (made, its number). `report` is what a look found. `share` of the file is read, from
    0 to 1, `rows` are read or stored so far. `dataset_id` is the dataset in the making, and in the end the one that was made.
    """

    __tablename__ = "upload"

    name: Mapped[str]
    filename: Mapped[str]
    file: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(default=None)
    source: Mapped[str] = mapped_column(default="upload")
    description: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    aim: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    cut: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    report: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json)
    share: Mapped[float] = mapped_column(default=0.0)
    rows: Mapped[int] = mapped_column(default=0)
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("dataset.id", ondelete="SET NULL"))
    lease_token: Mapped[str | None]
    lease_until: Mapped[int | None]
    cancel_requested_at: Mapped[int | None]
    started_at: Mapped[int | None]
    touched_at: Mapped[int] = mapped_column(default=db_now())

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def decidable(self) -> bool:
        return self.state in DECIDABLE and self.aim == "report"

    @property
    def onto(self) -> str | None:
        """The version behind whose rows its own go, `ID@N`; None for one that becomes a dataset of its own."""
        return self.cut.get("onto")

    @property
    def changes(self) -> bool:
        """Whether it makes a version out of the rows that are there; no file was sent."""
        return self.aim == "change"

    @property
    def seconds(self) -> float:
        """How long it was worked on, up to its last sign of life."""
        return max(0, self.touched_at - self.started_at) / 1000 if self.started_at else 0.0

    @property
    def rate(self) -> float | None:
        """Rows a second; none before there is anything to measure."""
        return self.rows / self.seconds if self.rows and self.seconds >= 0.5 else None

    def person(self) -> Who:
        """On whose behalf the importing child acts."""
        return Who(self.author_id, self.workspace_id, "", "member")


def add(session: Session, person: Who, **values: Any) -> Upload:
    """A new upload that waits for its `aim`."""
    upload = Upload(**owned(person), **values)
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def listed(session: Session, person: Who) -> Sequence[Upload]:
    """The uploads that have not become a dataset, newest first."""
    return session.scalars(visible(person, Upload).where(Upload.state != "done").limit(100)).all()


def waiting(session: Session) -> Sequence[Upload]:
    """What waits for somebody to work on it, oldest first."""
    return session.scalars(select(Upload).where(Upload.state == "waiting").order_by(Upload.id).limit(50)).all()


def claim(session: Session, key: int) -> tuple[Upload, str] | None:
    """Take a waiting upload; None when somebody else has it, or nobody wants it any more."""
    token = secrets.token_hex(16)
    for aim, state in (("report", "reading"), ("import", "importing"), ("append", "importing"), ("change", "importing")):
        values = {"state": state, "lease_token": token, "lease_until": db_now() + LEASE_MS, "started_at": db_now(), "touched_at": db_now()}
        query = update(Upload).where(Upload.id == key, Upload.state == "waiting", Upload.aim == aim).values(**values, share=0.0, rows=0, error=None)
        if _changed(session, query):
            return session.get_one(Upload, key, populate_existing=True), token
    return None


_TABLE = cast(Table, Upload.__table__)
_HOLD = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("of"), _TABLE.c.lease_token == bindparam("by"), _TABLE.c.state.in_(("reading", "importing")))
    .values(lease_until=db_now() + LEASE_MS, touched_at=db_now())
)
"""One statement for the life of the process: an import asks it with every write, while SQLite's lock is held."""


def _changed(session: Session, query: Any) -> int:
    return int(session.execute(query, execution_options={"synchronize_session": False}).rowcount)  # type: ignore[attr-defined]


def hold(session: Session, key: int, token: str, **values: Any) -> None:
    """Write down how far it is, and keep it. Raises Dropped."""
    session.flush()
    if not session.connection().execute(_HOLD, {"of": key, "by": token, **values}).rowcount:
        raise Dropped


def end(session: Session, key: int, token: str, state: str, **values: Any) -> None:
    """The work on it is done: it is ready, refused, done or failed. Raises Dropped."""
    hold(session, key, token, state=state, lease_token=None, **values)


def decide(session: Session, person: Who, key: int, **values: Any) -> Upload:
    """Another way to read it: a look begins anew. Raises Conflict once rows go in."""
    return _ask(session, person, key, DECIDABLE, aim="report", **values)


def settle(session: Session, person: Who, key: int, **values: Any) -> Upload:
    """What does not change how the file is read: its name, its cut. Raises Conflict once rows go in."""
    upload = write(session, person, Upload, key, "upload")
    if not _changed(session, update(Upload).where(Upload.id == key, Upload.state.in_(DECIDABLE), Upload.aim != "change").values(**values)):
        raise _moved_on(upload)
    session.refresh(upload)
    return upload


def freeze(session: Session, person: Who, key: int, **values: Any) -> Upload:
    """Make it a dataset, or the next version of the one it goes onto. Raises Conflict unless a report without problems stands."""
    aim = "append" if write(session, person, Upload, key, "upload").onto else "import"
    return _ask(session, person, key, ("ready",), aim=aim, **values)


def _ask(session: Session, person: Who, key: int, states: Sequence[str], **values: Any) -> Upload:
    upload = write(session, person, Upload, key, "upload")
    query = update(Upload).where(Upload.id == key, Upload.state.in_(states), Upload.aim != "change")
    if not _changed(session, query.values(state="waiting", lease_token=None, error=None, share=0.0, rows=0, touched_at=db_now(), **values)):
        raise _moved_on(upload)
    session.refresh(upload)
    return upload


def _moved_on(upload: Upload) -> Conflict:
    return Conflict("upload_moved_on", f"{upload.filename} is {upload.state} by now.", "Reload the page to see how it stands.")


def cancel(session: Session, person: Who, key: int) -> bool:
    """Give it up. True when it can be cleared at once; False when somebody is storing its rows, who then clears it."""
    upload = write(session, person, Upload, key, "upload")
    if upload.state == "done":
        raise Conflict("upload_done", f"{upload.filename} is a dataset by now.", "Delete the dataset instead.")
    held = update(Upload).where(Upload.id == key, Upload.state.in_(("importing", "cancelling")))
    if _changed(session, held.values(state="cancelling", cancel_requested_at=db_now(), touched_at=db_now())):
        return False
    _changed(session, update(Upload).where(Upload.id == key).values(state="cancelling", cancel_requested_at=db_now(), lease_token=None, lease_until=db_now()))
    return True


def put_off(session: Session, key: int, token: str) -> None:
    """It takes longer than whoever has it may take: it waits for somebody else, as it was. Raises Dropped."""
    hold(session, key, token, state="waiting", lease_token=None, dataset_id=None, share=0.0, rows=0)


def lost(session: Session) -> Sequence[Upload]:
    """Those whose holder has been silent for too long: it was killed."""
    return session.scalars(select(Upload).where(Upload.state.in_(HELD), Upload.lease_until < db_now())).all()


def give_up(session: Session, key: int) -> bool:
    """Nobody holds it any more, whatever its lease says: whoever removes its rows owns it now. False when it ended meanwhile."""
    return bool(
        _changed(
            session,
            update(Upload).where(Upload.id == key, Upload.state.in_(HELD)).values(state="cancelling", lease_token=None, lease_until=db_now() + LEASE_MS),
        )
    )


def fail(session: Session, key: int, error: dict[str, Any]) -> bool:
    """It has come to nothing; the row says why. False when it was cancelled meanwhile."""
    return _told(session, key, state="failed", error=error)


def hand_back(session: Session, key: int, error: dict[str, Any]) -> bool:
    """An import was refused, and its file can still be read otherwise: back to the report, which says why. False when it was cancelled meanwhile."""
    return _told(session, key, state="ready", aim="report", error=error)


def _told(session: Session, key: int, **values: Any) -> bool:
    wanted = update(Upload).where(Upload.id == key, Upload.cancel_requested_at.is_(None))
    return bool(_changed(session, wanted.values(dataset_id=None, lease_token=None, touched_at=db_now(), **values)))


def forgotten(session: Session) -> Sequence[Upload]:
    """Those that nobody has gone on with, or that ended, more than a day ago."""
    return session.scalars(select(Upload).where(Upload.state.not_in(ACTIVE), Upload.touched_at < db_now() - KEPT_MS)).all()
