"""The child may be killed, starve, hang or lie: the caller gets frames or one sentence, and keeps its memory and its files."""

import gc
import os
import signal
import time
import tracemalloc
from pathlib import Path

import pytest

from app.errors import Invalid
from app.readers.frames import Broken, Chunk, End, Found
from app.readers.options import ENCODINGS, Options
from app.readers.parent import read_file
from tests.readers.conftest import Stand, reading_children


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload.csv"
    path.write_text("text,label\n" + "".join(f"text {number},x\n" for number in range(1200)))
    return path


def refusal(path: Path, **how: float) -> Invalid:
    with pytest.raises(Invalid) as error:
        list(read_file(path, **how))  # type: ignore[arg-type]
    assert error.value.status == 422 and error.value.advice
    return error.value


def test_a_file_comes_through_in_frames(upload: Path) -> None:
    found = list(read_file(upload))
    assert [type(frame) for frame in found] == [Found, Chunk, Chunk, Chunk, End]
    assert isinstance(found[1], Chunk) and found[1].examples[0].input == "text 0"
    assert found[-1] == End(1200, 0, 0, [])


def test_a_system_that_grants_no_larger_pipe_is_good_enough(upload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("app.readers.parent.fcntl", refused)
    assert isinstance([*read_file(upload)][-1], End)


def test_mapping_and_options_reach_the_child(upload: Path) -> None:
    found = next(read_file(upload, {"input": "label", "output": None}, options=Options(encoding="latin-1", quote="")))
    assert isinstance(found, Found) and found.mapping is not None
    assert (found.mapping.input, found.mapping.output, found.detected.encoding, found.detected.quote) == ("label", None, "latin-1", "")


def test_problems_come_through(tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b'text,label\n"open,x\n')
    found = list(read_file(path))
    assert isinstance(found[0], Found) and found[0].mapping is None
    assert isinstance(found[1], Broken) and found[1].problem.code == "unclosed_quote"


def test_options_that_cannot_be_used_are_refused_at_once(upload: Path) -> None:
    for options, code in [
        (Options(mapping={"label": "x"}), "unknown_field"),
        (Options(encoding="rot13"), "unknown_encoding"),
        (Options(delimiter=",,"), "bad_delimiter"),
        (Options(delimiter='"'), "bad_delimiter"),
        (Options(quote="a"), "bad_quote"),
        (Options(line_ends="LFCR"), "bad_line_ends"),  # type: ignore[arg-type]
        (Options(leave_out=("unclosed_quote",)), "bad_leave_out"),
    ]:
        with pytest.raises(Invalid) as error:
            next(read_file(upload, options=options))
        assert error.value.code == code


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_on_offer_can_be_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "upload"
    path.write_bytes("text,label\nabc,x\n".encode(encoding))
    assert list(read_file(path, options=Options(encoding=encoding)))[-1] == End(1, 0, 0, [])


def test_leaving_early_ends_the_child(upload: Path) -> None:
    reading = read_file(upload)
    next(reading)
    assert len(reading_children()) == 1
    reading.close()
    assert not reading_children()


def test_a_killed_child_is_a_sentence(upload: Path, child_says: Stand) -> None:
    child_says("import os; os.kill(os.getpid(), 9)")
    assert refusal(upload).message == "Reading this file would take more memory than this machine has free."


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_file_that_ends_its_reader_is_a_sentence(upload: Path, child_says: Stand, number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    child_says(f"import os; os.kill(os.getpid(), {int(number)})")
    assert refusal(upload).code == "damaged_file" and "Traceback" not in caplog.text


def test_a_child_out_of_processor_time_is_a_sentence(upload: Path, child_says: Stand) -> None:
    child_says(f"import os; os.kill(os.getpid(), {int(signal.SIGXCPU)})")
    assert refusal(upload).message == "Reading this file would take more than 60 seconds of processor time."


def test_a_silent_child_is_ended(upload: Path, child_says: Stand) -> None:
    child_says("import time; time.sleep(60)")
    began = time.monotonic()
    assert refusal(upload, timeout=0.3).code == "too_costly"
    assert time.monotonic() - began < 5


def test_time_the_caller_takes_does_not_count(upload: Path) -> None:
    found = []
    for frame in read_file(upload, timeout=2.0):
        time.sleep(0.5)
        found.append(frame)
    assert isinstance(found[-1], End)


@pytest.mark.parametrize(
    "program", ["raise SystemExit(1)", "print('no frame at all, only words', end='')", "import sys; sys.stdout.buffer.write(b'\\x00\\x00\\x00\\x09abc')", ""]
)
def test_a_child_that_dies_or_lies_is_a_sentence(upload: Path, child_says: Stand, program: str) -> None:
    child_says(program)
    assert refusal(upload).code == "reader_failed"


def test_memory_is_capped(upload: Path, child_says: Stand) -> None:
    child_says("import app.readers.child as c; c.frames = lambda *_: iter([bytearray(500 << 20)]); c.main()")
    assert refusal(upload).message == "Reading this file would take more than 400 MB of memory."


def test_the_child_knows_no_secret_and_writes_no_file(
    upload: Path, child_says: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FETTLE_SECRET_KEY", "secret")
    target = upload.with_name("written")
    child_says(f"""
import os, pathlib, signal, sys, app.readers.caps as child
child.limit()
print("environment:", sorted(os.environ), file=sys.stderr)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    pathlib.Path({str(target)!r}).write_text("a")
except OSError as error:
    print("file:", error, file=sys.stderr)
""")
    assert refusal(upload).code == "reader_failed"
    assert "FETTLE_SECRET_KEY" not in caplog.text and "environment:" in caplog.text
    assert "file: [Errno 27] File too large" in caplog.text


def test_the_parents_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for rows in (2_000, 40_000):
        path = tmp_path / "large"
        with path.open("w") as stream:
            stream.write("text,label\n")
            stream.writelines(f"{'some words ' * 8}{number},x\n" for number in range(rows))
        gc.collect()
        tracemalloc.start()
        count = sum(len(frame.examples) for frame in read_file(path) if isinstance(frame, Chunk))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == rows
    assert peaks[1] < 1.5 * peaks[0] + 100_000


def test_no_file_descriptor_stays_open(upload: Path) -> None:
    list(read_file(upload))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    list(read_file(upload))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
