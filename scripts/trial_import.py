"""Imports every file of a folder as a person would in the browser, and prints what they would see: `python -m scripts.trial_import [--folder DIR]`.

Each file is uploaded, looked at, frozen and examined, in an installation of its own that is gone afterwards; files of a folder that are called like splits
(train, test) become one dataset: the train file first, the others appended, each as its split. The folder is that of
`--folder`, else FETTLE_BENCH_RAW, else ../shared/data/raw; licences and read-me files are passed over. Status 1 when a file was refused.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.readers import Split

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw"
PASSED_OVER = ("license", "licence", "readme", "notice")
SHOWN = 5


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m scripts.trial_import", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--folder", type=Path, default=Path(os.environ.get("FETTLE_BENCH_RAW") or FOLDER))
    folder = options.parse_args().folder
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.lower().startswith(PASSED_OVER)]
    if not files:
        sys.exit(f"There is no file in {folder}.")
    with _installation():
        refused = [path.name for paths in _together(files) for path in _refused(paths, folder)]
    print(f"\n{len(files) - len(refused)} of {len(files)} files became a dataset, or a part of one.")
    sys.exit(1 if refused else 0)


def _together(files: Sequence[Path]) -> list[dict[Path, "Split | None"]]:
    """The files of each dataset with the split that all their rows are in, the train file first; None where the file is a dataset of its own."""
    from app.readers.names import splits_of

    found: list[dict[Path, Split | None]] = []
    for folder in sorted({path.parent for path in files}):
        here = [path for path in files if path.parent == folder]
        splits = splits_of(path.name for path in here)
        of_one = [path for path in sorted(here, key=lambda path: splits.get(path.name) != "train") if path.name in splits]
        if len(of_one) < 2 or splits[of_one[0].name] != "train" or len(set(splits.values())) < len(of_one):
            of_one = []
        found += [{path: splits[path.name] for path in of_one}] if of_one else []
        found += [{path: None} for path in here if path not in of_one]
    return found


def _refused(files: Mapping[Path, "Split | None"], folder: Path) -> list[Path]:
    """Those that did not become what they should; what comes behind one that was refused is not tried."""
    dataset: int | None = None
    for number, (path, split) in enumerate(files.items()):
        dataset = _tried(path, str(path.relative_to(folder)), split, dataset)
        if dataset is None:
            return list(files)[number:]
    return []


@contextmanager
def _installation() -> Iterator[None]:
    """A fresh SQLite database in a folder that goes."""
    with tempfile.TemporaryDirectory(prefix="fettle-trial-") as name:
        os.environ |= {"FETTLE_DATA": name, "FETTLE_DATABASE_URL": f"sqlite:///{Path(name) / 'fettle.db'}"}
        from app.db import engine
        from app.migrate import migrate

        migrate(engine())
        yield
        engine().dispose()


def _tried(path: Path, name: str, split: "Split | None", onto: int | None) -> int | None:
    """The dataset that a file becomes, or goes onto; prints its report, its splits and its health."""
    from app.db import transaction
    from app.domain.access import installation
    from app.readers.options import Options
    from app.services import datasets, health, imports, uploads
    from app.services.uploads import Sent

    with transaction() as session:
        person = installation(session)
    print(f"\n{name}, {path.stat().st_size:,} bytes{f', every row of it {split}' if split else ''}")
    with path.open("rb") as stream:
        sent = Sent(stream, path.name, options=Options(split=split))
        key = (uploads.accept(person, sent, "report") if onto is None else uploads.accept_rows(person, onto, sent)).id
    imports.run(key)
    looked = uploads.find(person, key)
    _report(looked.report or {}, looked.error)
    if looked.state != "ready":
        return None
    uploads.freeze(person, key)
    imports.run(key)
    done = uploads.find(person, key)
    if done.dataset_id is None:
        print(f"  not frozen   {(done.error or {}).get('message')}")
        return None
    version = datasets.find(person, done.dataset_id).version
    print(f"  version {version.number}    {', '.join(f'{split} {rows:,}' for split, rows in version.splits.items())}; {len(version.labels) or 'no'} labels")
    health.examine_version(version.id)
    for finding in health.report(person, version.reference).findings or ():
        print(f"  health       {finding.sentence}" + (f" [{finding.remedy} {finding.fixed:,}]" if finding.remedy else ""))
    return version.dataset_id


def _report(report: Mapping[str, Any], error: Mapping[str, Any] | None) -> None:
    """What the page of an upload shows of it."""
    said = [f"{field} {value!r}" for field, value in (report.get("detected") or {}).items() if value not in (None, "", False) and field != "unit"]
    print(f"  read as      {', '.join(said)}")
    mapping = [f"{field}: {column}" for field, column in (report.get("mapping") or {}).items() if column]
    print(f"  columns      {report.get('columns')}, {', '.join(mapping)}")
    print(f"  rows         {report.get('rows', 0):,}, unlabelled {report.get('unlabelled', 0):,}, problems {report.get('problem_count', 0):,}")
    outputs = report.get("outputs") or {}
    first = ", ".join(f"{label} {count:,}" for label, count in sorted(outputs.items(), key=lambda one: -one[1])[:SHOWN])
    print(f"  labels       {len(outputs)}: {first}" if outputs else "  labels       none: the outputs are free text")
    for note in report.get("notes") or ():
        print(f"  note         {note['sentence']}")
    for problem in (report.get("problems") or ())[:SHOWN]:
        print(f"  problem      {problem['code']}, line {problem['line']}: {problem['advice']}")
    if error:
        print(f"  refused      {error['message']} {error['advice']}")


if __name__ == "__main__":
    main()
