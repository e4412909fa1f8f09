"""Files as their authors publish them, read as a person would expect. FETTLE_BENCH_RAW names the folder that holds them."""

import os
from pathlib import Path

import pytest

from tests.readers.reading import Read

FOLDER = Path(os.environ.get("FETTLE_BENCH_RAW", Path(__file__).parents[2] / ".." / "shared" / "data" / "raw"))

EXPECTED = {
    "banking77/train.csv": (10_003, "csv", "utf-8", 77),
    "banking77/test.csv": (3_080, "csv", "utf-8", 77),
    "sms_spam/SMSSpamCollection": (5_574, "csv", "utf-8", 2),
    "trec/TREC.train.all": (5_452, "label_lines", "cp1252", 6),
    "trec/TREC.test.all": (500, "label_lines", "utf-8", 6),
    "gsm8k/test.jsonl": (1_319, "json_lines", "utf-8", 1_319),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_file_is_read_without_a_choice(name: str) -> None:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not in FETTLE_BENCH_RAW")
    read = Read(path)
    rows, form, encoding, outputs = EXPECTED[name]
    assert read.problems == [] and (len(read.pairs), read.detected.format, read.detected.encoding) == (rows, form, encoding)
    assert all(output for _, output in read.pairs) and len({output for _, output in read.pairs}) == outputs
