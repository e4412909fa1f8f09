"""Uploads: what a person can do with a file before it is a dataset. Look at it, say how it is read, freeze it, give it up."""

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

from app.db import reading, transaction
from app.domain import lineage
from app.domain import upload as uploads
from app.domain.access import Who, read, write
from app.domain.dataset import Dataset
from app.domain.label_book import written
from app.domain.splits import shares_wanted
from app.domain.upload import Upload
from app.errors import Conflict, FettleError, Invalid, NotFound
from app.readers import Problem
from app.readers.content import GZIP, ZIP
from app.readers.options import Options, check
from app.readers.parent import DETECT
from app.readers.preview import Preview, preview
from app.readers.sniff import PARQUET
from app.services import appending, datasets, imports, upload_files
from app.services.datasets import DatasetView
from app.services.patience import Long, briefly
from app.services.presets import columns_for, preset
from app.services.upload_files import options_of, place

AT_ONCE_BYTES = 20_000_000
"""Up to this size the API answers with the dataset itself."""

PACKED_AT_ONCE_BYTES = 2_000_000
"""The same of a file that holds more than its bytes: gzip, ZIP (a workbook is one), Parquet."""

PACKED = (GZIP, *ZIP, PARQUET)

ALL_PROBLEMS = 10**9

nudged = threading.Event()
"""Set when an upload waits; the thread that starts importing children listens."""


@dataclass(frozen=True)
class Sent:
    """A file that was sent, and what its sender said about it: the dataset's name, how it is read, how it is cut (splits, seed, group)."""

    stream: BinaryIO
    filename: str
    name: str = ""
    options: Options = DETECT
    cut: Mapping[str, Any] = field(default_factory=dict)
    source: str = "upload"
    description: str = ""


def _packed(stream: BinaryIO) -> bool:
    """Whether a file may hold many times as much as its bytes."""
    head = stream.read(4)
    stream.seek(0)
    return head.startswith(PACKED)


def make(person: Who, sent: Sent, size: int) -> DatasetView | Upload:
    """A dataset of a file of so many bytes, or the upload that becomes one where that takes longer than its sender should wait: of a packed file, that is
    found out while it is read. Raises Invalid with the problems of a broken file, the upload that has them all where they are many, Conflict when it is
    cancelled meanwhile."""
    packed = _packed(sent.stream)
    if size > (PACKED_AT_ONCE_BYTES if packed else AT_ONCE_BYTES):
        return accept(person, sent, "import")
    made = import_now(person, sent, briefly=packed, keep=True)
    return made if isinstance(made, Upload) else datasets.find(person, made)


def accept(person: Who, sent: Sent, aim: Literal["report", "import"]) -> Upload:
    """Take a file in: for a person to look at first (report), or to become a dataset (import). Raises Invalid for shares that are none."""
    upload, _ = _added(person, sent, aim, here=False)
    nudged.set()
    return upload


def accept_rows(person: Who, dataset: int | str, sent: Sent) -> Upload:
    """Take a file in whose rows go behind those of a dataset's newest version, for a person to look at first: read as the dataset's first file was."""
    view = datasets.find(person, str(dataset).split("@", maxsplit=1)[0])
    with reading() as session:
        write(session, person, Dataset, view.dataset.id, "dataset")
    cut = {"onto": view.version.reference, "reason": "", "repeats": False}
    sent = replace(sent, name=view.dataset.name, cut=cut)
    upload, _ = _added(person, sent, "report", here=False, how=lambda path: preset(view.version, path, sent.options))
    nudged.set()
    return upload


def accept_change(person: Who, view: DatasetView, change: bytes, words: str, reason: str) -> Upload:
    """Take in what is to be done to the rows of a long version (app/services/change_files.py). The importing child makes the next version of it."""
    cut = {"onto": view.version.reference, "reason": reason}
    upload, _ = _added(person, Sent(io.BytesIO(change), words, view.dataset.name, cut=cut), "change", here=False)
    nudged.set()
    return upload


def onto(person: Who, upload: Upload) -> DatasetView | None:
    """The newest version of the dataset that an upload goes onto; none where it is a dataset of its own, or that one is gone."""
    if upload.onto is None:
        return None
    try:
        return datasets.find(person, upload.onto.split("@")[0])
    except NotFound:
        return None


@overload
def import_now(person: Who, sent: Sent) -> int: ...
@overload
def import_now(person: Who, sent: Sent, briefly: bool, keep: bool = False) -> int | Upload: ...
def import_now(person: Who, sent: Sent, briefly: bool = False, keep: bool = False) -> int | Upload:
    """Take a file in and make it a dataset before this returns its id; `briefly`: or its upload, where it takes long. Raises as `make` does; `keep`: a
    refusal that cannot tell all problems names the upload that has them (app/services/problem_lists.py)."""
    upload, token = _added(person, sent, "import", here=True)
    if not briefly:
        imports.work(upload, token)
    elif not imports.work_briefly(upload, token):
        nudged.set()
        return upload
    with reading() as session:
        ended = session.get(Upload, upload.id)
    if ended is None:
        raise Conflict("import_cancelled", f"The import of {upload.filename} was cancelled while it ran. Nothing of it was stored.", "Send the file again.")
    if ended.dataset_id is None:
        error = dict(ended.error or imports.LOST)
        if keep and error.get("count", 0) > len(error.get("problems", ())):
            error["upload"] = upload.id
        else:
            imports.clear(upload.id)
        raise Invalid(error.pop("code"), error.pop("message"), error.pop("advice"), detail=error)
    return ended.dataset_id


def import_file(
    person: Who,
    path: Path,
    *,
    name: str,
    filename: str,
    mapping: Mapping[str, Any] | None = None,
    options: Options = DETECT,
    splits: Mapping[str, float] | None = None,
    seed: int = 0,
    source: str = "upload",
    description: str = "",
) -> DatasetView:
    """Read a file into a new dataset's first version, split and sealed. Raises Invalid with the problems of a broken file.

    It goes the way of every upload: nobody sees it until it is sealed; a refused file leaves nothing behind.
    """
    cut = {"splits": dict(splits) if splits else None, "seed": seed}
    options = options if mapping is None else replace(options, mapping=mapping)
    with path.open("rb") as stream:
        key = import_now(person, Sent(stream, filename, name, options, cut, source, description))
    return datasets.find(person, key)


def append(person: Who, reference: int | str, sent: Sent, size: int, reason: str = "", repeats: bool = False) -> DatasetView | Upload:
    """A file's rows behind those of a dataset's newest version: the next one, or the upload that makes it when that takes a while. What `sent.options` leave
    open is read as the dataset's first file was. Raises Conflict when the version is not the newest; what is wrong with a long file is told by its upload.
    """
    view = datasets.find(person, reference)
    if appending.at_once(person, reference, size):
        with suppress(Long), upload_files.passing(sent.stream) as (path, sha256):
            options = preset(view.version, path, sent.options)
            return appending.append_file(person, reference, path, sent.filename, options, reason, repeats, sha256=sha256, read=briefly)
        sent.stream.seek(0)
    with reading() as session:
        lineage.newest(session, view.version)
    cut = {"onto": view.version.reference, "reason": reason, "repeats": repeats}
    upload, _ = _added(person, replace(sent, name=view.dataset.name, cut=cut), "append", here=False)
    nudged.set()
    return upload


def _added(person: Who, sent: Sent, aim: str, *, here: bool, how: Callable[[Path], Options] | None = None) -> tuple[Upload, str]:
    """The row of a stored file. `here`: it is taken in the same breath, so that no importing child takes it. `how` says how that file is read."""
    shares_wanted(sent.cut.get("splits"))
    file, size, sha256 = upload_files.store(sent.stream)
    values = {"filename": sent.filename, "file": file, "size": size, "sha256": sha256, "source": sent.source, "description": sent.description, "aim": aim}
    try:
        options = asdict(how(place(file)) if how else sent.options)
        with transaction() as session:
            upload = uploads.add(session, person, name=_named(sent.name, sent.filename), options=options, cut=dict(sent.cut), **values)
            return (uploads.claim(session, upload.id) if here else None) or (upload, "")
    except BaseException:
        upload_files.remove(file)
        raise


def _named(name: str, filename: str) -> str:
    return name.strip()[:200] or Path(filename).stem or "dataset"


def find(person: Who, key: int) -> Upload:
    with reading() as session:
        return read(session, person, Upload, key, "upload")


def unfinished(person: Who, onto: int | None = None) -> Sequence[Upload]:
    """Uploads that are no datasets yet, newest first; `onto`: those that make the next version of this dataset."""
    with reading() as session:
        found = uploads.listed(session, person)
    return found if onto is None else [one for one in found if one.onto is not None and one.onto.split("@")[0] == str(onto)]


def first_look(person: Who, key: int) -> dict[str, Any]:
    """The beginning of a file as its report will have it: what can be said at once."""
    upload = find(person, key)
    return _glance(upload, options_of(upload.options))


def _glance(upload: Upload, options: Options) -> dict[str, Any]:
    try:
        return imports.report_of(preview(place(upload.file), options, rows=1, filename=upload.filename), upload.report)
    except FettleError as error:
        problem = Problem(error.code, 0, "", "", f"{error.message} {error.advice}")
        return imports.report_of(Preview(problems=[problem], problem_count=1), upload.report)


def read_otherwise(person: Who, key: int, name: str, options: Options, cut: Mapping[str, Any], mapping: Mapping[str, Any] | None = None) -> Upload:
    """Another way to read the file, or other columns: what its beginning shows is new at once, the report follows. Raises Invalid, Conflict.

    Without a mapping the columns are found anew: those of the dataset that the upload goes onto, else by their names.
    """
    shares_wanted(cut.get("splits"))
    options = replace(options, mapping=mapping or {})
    check(options)
    upload = find(person, key)
    if mapping is None and (standing := onto(person, upload)) is not None:
        options = columns_for(standing.version, place(upload.file), options)
    values = {"options": asdict(options), "cut": dict(cut), "name": _named(name, upload.filename), "report": _glance(upload, options)}
    with transaction() as session:
        upload = uploads.decide(session, person, key, **values)
    nudged.set()
    return upload


def keep_cut(person: Who, key: int, name: str, cut: Mapping[str, Any]) -> Upload:
    """A name and shares that do not change how the file is read. Raises Invalid, Conflict."""
    shares_wanted(cut.get("splits"))
    named = _named(name, find(person, key).filename)
    with transaction() as session:
        return uploads.settle(session, person, key, name=named, cut=dict(cut))


def freeze(person: Who, key: int) -> Upload:
    """Make the file version 1 of a dataset, or the next version of the one it goes onto. Raises Conflict unless a report without problems stands, and when a
    version that nobody has been shown here came in between; Invalid for display texts that do not tell labels apart."""
    upload = find(person, key)
    written(upload.cut.get("displays") or {}, (upload.report or {}).get("outputs") or {})
    standing = upload.onto
    behind = None if standing is None else datasets.find(person, standing).version
    with transaction() as session:
        if behind is not None:
            lineage.newest(session, behind)
        upload = uploads.freeze(session, person, key)
    nudged.set()
    return upload


def cancel(person: Who, key: int) -> None:
    """Give an upload up, whatever it is doing. Nothing of it is left; rows that are in go within seconds."""
    with transaction() as session:
        at_once = uploads.cancel(session, person, key)
    if at_once:
        imports.clear(key)
