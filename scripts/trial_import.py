"""Imports every file of a folder as a person would in the browser, and prints what they would see: `python -m scripts.trial_import [--folder DIR]`.

Each file is uploaded, looked at, frozen as version 1 and examined, in an installation of its own that is gone afterwards. The folder is that of
`--folder`, else FETTLE_BENCH_RAW, else ../shared/data/raw; licences and read-me files are passed over. Status 1 when a file was refused.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        refused = [path.name for path in files if not _tried(path, str(path.relative_to(folder)))]
    print(f"{len(files) - len(refused)} of {len(files)} files became a dataset.")
    sys.exit(1 if refused else 0)


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


def _tried(path: Path, name: str) -> bool:
    """Whether a file becomes a dataset; prints its report, its splits and its health."""
    from app.db import transaction
    from app.domain.access import installation
    from app.services import datasets, health, imports, uploads
    from app.services.uploads import Sent

    with transaction() as session:
        person = installation(session)
    print(f"\n{name}, {path.stat().st_size:,} bytes")
    with path.open("rb") as stream:
        key = uploads.accept(person, Sent(stream, path.name), "report").id
    imports.run(key)
    looked = uploads.find(person, key)
    _report(looked.report or {}, looked.error)
    if looked.state != "ready":
        return False
    uploads.freeze(person, key)
    imports.run(key)
    done = uploads.find(person, key)
    if done.dataset_id is None:
        print(f"  not frozen   {(done.error or {}).get('message')}")
        return False
    version = datasets.find(person, done.dataset_id).version
    print(f"  version 1    {', '.join(f'{split} {rows:,}' for split, rows in version.splits.items())}; {len(version.labels) or 'no'} labels")
    health.examine_version(version.id)
    for finding in health.report(person, version.reference).findings or ():
        print(f"  health       {finding.sentence}" + (f" [{finding.remedy} {finding.fixed:,}]" if finding.remedy else ""))
    return True


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
