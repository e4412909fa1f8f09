"""ZIP and gzip: one table out, or the reason; never a byte on a disk, never more unpacked than allowed."""

import gzip
import io
import random
import stat
import zipfile
import zlib
from pathlib import Path

import pytest

from app.readers import content as content_module
from app.readers.options import Options
from app.readers.packing import MEMBERS
from tests.readers.reading import Read

TABLE = b"text,label\na,x\nb,y\n"
MORE = b"text,label\n" + b"".join(b"text %d,x\n" % number for number in range(900))


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def only(read: Read, code: str) -> str:
    """The advice of the one problem there is."""
    assert read.codes == [code]
    return read.problems[0].advice


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_one_table_of_an_archive_is_read(path: Path, method: int) -> None:
    read = Read(zipped(path, ("folder/", b""), ("folder/table.csv", TABLE), method=method))
    assert read.pairs == [("a", "x"), ("b", "y")]
    assert (read.detected.packing, read.detected.member, read.detected.format) == ("zip", "folder/table.csv", "csv")


@pytest.mark.parametrize(
    "data", [TABLE, b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}', b'[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]']
)
def test_gzip_is_unpacked_whatever_is_in_it(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data[:9]) + gzip.compress(data[9:]) + bytes(512))
    read = Read(path)
    assert read.pairs == [("a", "x"), ("b", "y")] and read.detected.packing == "gzip" and "bytes_behind_gzip" not in read.notes


def test_bytes_behind_a_gzip_are_left_out_and_told(path: Path) -> None:
    path.write_bytes(gzip.compress(TABLE) + b"garbage")
    read = Read(path)
    assert len(read.pairs) == 2 and "left out" in read.notes["bytes_behind_gzip"]


@pytest.mark.parametrize("damage", [slice(0, 20), slice(0, -3)])
def test_a_gzip_cut_off_is_refused(path: Path, damage: slice) -> None:
    path.write_bytes(gzip.compress(MORE)[damage])
    assert Read(path).codes[-1] == "damaged_archive" and "incomplete" in Read(path).problems[-1].advice


def test_a_gzip_with_a_wrong_sum_is_refused(path: Path) -> None:
    data = bytearray(gzip.compress(TABLE))
    data[-8] ^= 1
    path.write_bytes(data)
    assert "damaged" in Read(path).problems[-1].advice


def test_what_macos_and_windows_add_is_left_aside(path: Path) -> None:
    names = ["__MACOSX/._table.csv", "._table.csv", ".DS_Store", "sub/.DS_Store", "Thumbs.db"]
    assert len(Read(zipped(path, ("table.csv", TABLE), *((name, b"\0\5\x16\7") for name in names))).pairs) == 2


def test_several_tables_are_a_choice(path: Path) -> None:
    zipped(path, ("train.csv", MORE), ("test.csv", TABLE), ("read me.txt", b"Hello.\nThis is about the data.\n"))
    assert only(Read(path), "choose_member") == (
        "The archive holds several tables. Choose one: train.csv (900 rows), test.csv (2 rows). Or read each file as a split: train.csv as train, test.csv as test."
    )
    assert len(Read(path, Options(member="test.csv")).pairs) == 2
    assert "train.csv, test.csv" in only(Read(path, Options(member="dev.csv")), "no_such_member")


def test_one_table_beside_a_licence_is_read_and_told(path: Path) -> None:
    licence = b"Permission is granted, free of charge, to any person,\nto deal in the Software without restriction, and\nso on.\n"
    read = Read(zipped(path, ("LICENSE", licence), ("logo.png", b"\x89PNG\r\n\x1a\n"), ("table", TABLE)))
    assert len(read.pairs) == 2 and read.notes["others_in_archive"] == "Read table; left out, as they are no tables: LICENSE, logo.png."


@pytest.mark.parametrize("name", ["../../evil", "/abs/evil", "a/../../b", "C:/evil", "C:\\evil", "\\\\srv\\x", "a\\..\\b"])
def test_names_that_point_outside_are_refused(path: Path, name: str) -> None:
    assert "points outside" in only(Read(zipped(path, ("table.csv", TABLE), (zipfile.ZipInfo(name), b"x"))), "unsafe_member")
    assert Read(path).problems[0].excerpt


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(path: Path, kind: int) -> None:
    link = zipfile.ZipInfo("a")
    link.create_system, link.external_attr = 3, (kind | 0o777) << 16
    assert "may not contain" in only(Read(zipped(path, (link, b"/etc"), ("a.csv", TABLE))), "link_in_archive")


def test_the_same_name_twice_is_refused(path: Path) -> None:
    assert "A.csv" in only(Read(zipped(path, ("a.csv", TABLE), ("A.csv", TABLE))), "duplicate_member")


def test_encrypted_members_are_refused(path: Path) -> None:
    zipped(path, ("a.csv", TABLE))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "password-protected archives are not supported" in only(Read(path), "encrypted_archive")


def test_archives_in_archives_are_refused(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.csv", TABLE)
    for nested in (inner.getvalue(), gzip.compress(TABLE)):
        assert "Unpack it" in only(Read(zipped(path, ("inner", nested))), "nested_archive")
        path.write_bytes(gzip.compress(nested))
        assert "Unpack it" in only(Read(path), "nested_archive")


def test_many_members_are_refused_before_they_are_looked_at(path: Path) -> None:
    zipped(path, *((f"{number}", b"") for number in range(MEMBERS + 1)), method=zipfile.ZIP_STORED)
    assert "more than 1,000 files" in only(Read(path), "too_many_members")
    zipped(path, *((f"{number}", b"") for number in range(66_000)), method=zipfile.ZIP_STORED)
    assert Read(path).codes == ["too_many_members"]


def test_an_archive_without_files(path: Path) -> None:
    assert only(Read(zipped(path)), "empty_archive")
    assert only(Read(zipped(path, ("folder/", b""))), "empty_archive")


@pytest.mark.parametrize("packing", ["gzip", "zip"])
def test_a_bomb_is_stopped_and_what_it_says_of_its_size_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(content_module, "FREELY", 1 << 20)
    bomb = b"text,label\n" + b"a,b\n" * (1 << 20)
    if packing == "gzip":
        path.write_bytes(gzip.compress(bomb))
    else:
        data = bytearray(zipped(path, ("a.csv", bomb)).read_bytes())
        data[data.rfind(b"PK\x01\x02") + 24 :][:4] = b"\x10\0\0\0"
        path.write_bytes(data)
    assert path.stat().st_size < 1 << 15
    read = Read(path)
    assert read.codes == ["unpacks_too_large"] and "unpacks to more than allowed (stopped at 1 MB)" in read.problems[0].advice


def test_a_packed_workbook_too_large_to_hold_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_module, "HELD", 1000)
    path.write_bytes(gzip.compress(b"PAR1" + random.Random(0).randbytes(2000) + b"PAR1"))
    assert "Unpack it first" in only(Read(path), "packed_too_large")


def test_damaged_archives(path: Path) -> None:
    data = zipped(path, ("a.csv", MORE)).read_bytes()
    for damaged in (data[:100], data[:-30], b"PK\x03\x04\x14\x00", data[:60] + bytes(40) + data[100:]):
        path.write_bytes(damaged)
        assert Read(path).codes[-1] == "damaged_archive"


def test_a_packing_method_without_code_is_refused(path: Path) -> None:
    data = bytearray(zipped(path, ("a.csv", TABLE)).read_bytes())
    data[8] = data[data.rfind(b"PK\x01\x02") + 10] = 97
    path.write_bytes(data)
    assert Read(path).codes == ["packing_not_read"]


def test_random_damage_ends_in_a_sentence(path: Path) -> None:
    draw = random.Random(5)
    for whole in (zipped(path, ("a.csv", MORE)).read_bytes(), gzip.compress(MORE), zlib.compress(MORE)):
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(draw.randrange(1, 5)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            path.write_bytes(data[: draw.randrange(1, len(data) + 1)] if draw.random() < 0.3 else data)
            assert all(problem.advice and problem.code for problem in Read(path).problems)


def test_an_archive_without_a_table_says_so(path: Path) -> None:
    zipped(path, ("archive/data.pkl", b"\x80\x02}q\0."), ("archive/data/0", random.Random(0).randbytes(400)), ("archive/version", b"3\n"))
    advice = only(Read(path), "no_table_in_archive")
    assert advice == "No file in the archive can be read as a table. It holds: archive/data.pkl, archive/data/0, archive/version."


def test_members_that_share_their_bytes_are_not_read_twice(path: Path) -> None:
    zipped(path, ("a.csv", MORE), ("b.csv", MORE))
    data = bytearray(path.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)  # where the second member begins: at the first one
    path.write_bytes(data)
    read = Read(path)
    assert len(read.pairs) == 900 and read.notes["others_in_archive"] == "Read a.csv; left out, as they are no tables: b.csv."
    assert Read(path, Options(member="b.csv")).codes == ["damaged_archive"]
