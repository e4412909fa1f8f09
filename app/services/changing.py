"""The next version of a dataset by a change: at once where the version is short, else by an upload whose progress one can follow."""

from sqlalchemy.orm import Session

from app.domain.access import Who
from app.domain.dataset import DatasetVersion
from app.domain.lineage import Change
from app.domain.upload import Upload
from app.services import appending, uploads
from app.services.change_files import Order, Remedy, Saved, change_of, order, written
from app.services.datasets import DatasetView
from app.services.versions import Watch, changeable, derive


class _Ending(Watch):
    """Does with the version what has to be done in the moment it is made, too."""

    def __init__(self, person: Who, wanted: Order) -> None:
        self._person, self._order = person, wanted

    def ended(self, session: Session, version: DatasetVersion) -> None:
        self._order.ended(session, self._person, version)


def change(person: Who, reference: int | str, wanted: Change | Remedy, reason: str = "", saved: Saved | None = None) -> DatasetView | Upload:
    """Make the next version, or take the change in: every row of a version is copied, and of many rows that takes longer than anybody waits for an answer.

    Raises Conflict when `reference` is not the newest version, and Invalid and Sealed for what may not be done to it. What is found out while a long one is
    copied is told by its upload.
    """
    view, asked = changeable(person, reference, None if isinstance(wanted, Remedy) else wanted), order(wanted, saved)
    if view.version.rows > appending.AT_ONCE_ROWS:
        return uploads.accept_change(person, view, written(asked), _words(wanted), reason)
    made = change_of(asked, person, view.version.reference) if isinstance(wanted, Remedy) else wanted
    return derive(person, view.version.reference, made, reason, watch=_Ending(person, asked))


def _words(wanted: Change | Remedy) -> str:
    """What is done, as the list of uploads and a progress bar say it."""
    told = wanted.told()
    rows = "" if "rows" not in told else "1 row" if told["rows"] == 1 else f"{told['rows']:,} rows"
    return {
        "drop": f"Drop {rows}",
        "move": f"Move {rows} to {told['split']}" if "split" in told else f"Move {rows}",
        "gather": f"Move {rows} to one side",
        "relabel": "Change labels",
        "edit": f"Change the output of {rows}",
        "label_book": "Rewrite the label book",
        "reserve": f"Set {rows} aside as a reserve",
    }[wanted.kind]
