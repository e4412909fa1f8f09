"""The child's memory does not grow with the file, and a file that would make it grow is refused with a sentence."""

import gzip
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import Invalid
from app.readers import MEMORY, pipeline
from app.readers.frames import Broken, Chunk, End
from app.readers.options import Options
from app.readers.parent import ENVIRONMENT, read_file

WORDS = "Where is the parcel that I ordered three weeks ago, and who do I have to call about it? Nobody answers. " * 4

# The child with a last word about itself. The kernel's other count, ru_maxrss, begins with the memory of the process that forked.
MEASURED = """
import pathlib, sys
from app.readers import child
child.main()
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")


def csv_file(path: Path, rows: int) -> None:
    with path.open("w") as stream:
        stream.write("text,label\n")
        stream.writelines(f'"{WORDS}{number}",label {number % 7}\n' for number in range(rows))


def json_lines(path: Path, rows: int) -> None:
    with path.open("w") as stream:
        stream.writelines(f'{{"text": "{WORDS}{number}", "label": "label {number % 7}"}}\n' for number in range(rows))


def json_list(path: Path, rows: int) -> None:
    with path.open("w") as stream:
        stream.write('{"about": {"made": "today"}, "data": [')
        stream.writelines(f'{"," if number else ""}\n{{"text": "{WORDS}{number}", "label": "label {number % 7}"}}' for number in range(rows))
        stream.write("]}")


def parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for start in range(0, rows, 10_000):
            numbers = range(start, min(rows, start + 10_000))
            table = pa.table({"text": [f"{WORDS}{number}" for number in numbers], "label": [f"label {number % 7}" for number in numbers]}, schema)
            writer.write_table(table)


def gzipped(path: Path, rows: int) -> None:
    csv_file(path, rows)
    with path.open("rb") as table, gzip.open(path.with_suffix(".gz"), "wb", compresslevel=1) as stream:
        shutil.copyfileobj(table, stream, 1 << 20)
    path.with_suffix(".gz").replace(path)


def zipped(path: Path, rows: int) -> None:
    csv_file(path, rows)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(path, "table.csv")
    path.with_suffix(".zip").replace(path)


def splits(path: Path, rows: int) -> None:
    csv_file(path, rows // 2)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("train.csv", "test.csv"):
            archive.write(path, name)
    path.with_suffix(".zip").replace(path)


def peak(path: Path, options: bytes = b"{}") -> int:
    """Most bytes that the child held while it read this file."""
    command = [sys.executable, "-P", "-c", MEASURED, str(path)]
    done = subprocess.run(command, input=options, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return int(done.stderr) * 1024


@pytest.mark.parametrize("write", [csv_file, json_lines, json_list, parquet, gzipped, zipped, splits])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    path = tmp_path / "table"
    peaks = []
    for rows in (15_000, 60_000):
        write(path, rows)
        peaks.append(peak(path, b'{"members": {"train.csv": "train", "test.csv": "test"}}' if write is splits else b"{}"))
    assert peaks[1] < 1.15 * peaks[0] and peaks[1] < MEMORY / 2


def workbook(path: Path, texts: int) -> None:
    """A sheet with one cell, and a table of texts of 10,000 characters."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    links = "".join(
        f'<Relationship Id="r{number}" Type="{office}/{kind}" Target="{part}"/>'
        for number, (kind, part) in enumerate([("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")])
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="A" sheetId="1" r:id="r0"/></sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{links}</Relationships>")
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet {main}><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row></sheetData></worksheet>')
        with archive.open("xl/sharedStrings.xml", "w") as part:
            part.write(f"<sst {main}>".encode())
            part.writelines(f"<si><t>{number:010}{'x' * 9_990}</t></si>".encode() for number in range(texts))
            part.write(b"</sst>")


def test_a_workbook_that_does_not_fit_is_refused_with_a_sentence(tmp_path: Path, child_says: Callable[[str], None]) -> None:
    path = tmp_path / "large.xlsx"
    workbook(path, 6_000)
    child_says(f"import sys, app.readers as r; sys.argv[1] = {str(path)!r}; r.MEMORY = 70 << 20; from app.readers import child; child.main()")
    with pytest.raises(Invalid) as refused:
        list(read_file(path))
    assert refused.value.code == "too_costly" and "MB of memory" in refused.value.message and refused.value.advice


def test_a_small_parquet_that_says_much_is_read_in_small_pieces(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    path = tmp_path / "bomb.parquet"
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * 990_000]))
    pq.write_table(pa.table({"text": repeated, "label": ["a"] * 1_000}), path)
    assert path.stat().st_size < 60_000
    assert peak(path) < MEMORY
    found = list(read_file(path))
    assert isinstance(found[-1], End) and found[-1].rows == 1_000 and all(len(frame.examples) < 3 for frame in found if isinstance(frame, Chunk))


def test_one_enormous_cell_is_passed_over_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with path.open("wb") as stream:
        stream.write(b"text,label\n")
        stream.writelines([b"a" * 1_000_000] * 100)
        stream.write(b",x\nfine,y\n")
    assert peak(path) < MEMORY / 2
    found = list(read_file(path))
    assert [frame.problem.advice for frame in found if isinstance(frame, Broken)] == [
        "Line 2, column text: a cell of 100,000,003 characters; the limit is 1,000,000. Shorten it or leave the row out."
    ]
    assert isinstance(found[-1], End) and found[-1].rows == 1


def test_a_million_problems_are_counted_and_no_more_of_them_is_held(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"text,label\n" + b"a,b,c\n" * 10_000)
    few = peak(path)
    path.write_bytes(b"text,label\n" + b"a,b,c\n" * 1_000_000)
    assert peak(path) < few + 10_000_000, "a block of the file, and no problem of a million"
    found = list(read_file(path))
    assert len([frame for frame in found if isinstance(frame, Broken)]) == 20 and len(found) < 200
    assert isinstance(found[-1], End) and found[-1].problems == 1_000_000 and found[-1].codes == {"wrong_number_of_values": 1_000_000}


def test_what_a_small_file_may_say_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MOST_TEXT", 10_000)
    (tmp_path / "table").write_text("text,label\n" + "a" * 100 + ",x\n" * 1 + ("b" * 100 + ",y\n") * 200)
    found = list(pipeline.frames(tmp_path / "table", Options()))
    assert [frame.problem.code for frame in found if isinstance(frame, Broken)] == ["too_much_text"]
