"""Files to upload, and a person's patience."""

import io
import random
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.access import Who
from app.domain.upload import Upload
from app.services import imports, uploads, versions
from app.services.datasets import DatasetView
from app.services.uploads import Sent

WORDS = [
    "the",
    "parcel",
    "order",
    "bill",
    "late",
    "refund",
    "account",
    "card",
    "money",
    "transfer",
    "please",
    "when",
    "never",
    "arrived",
    "payment",
    "customer",
    "exchange",
    "rate",
    "cash",
    "declined",
]


def table(rows: int, labels: int = 4, seed: int = 0, **columns: Callable[[int], str]) -> str:
    """A CSV of different texts with labels, and more columns where asked for."""
    draw = random.Random(seed)
    lines = [",".join(["text", "label", *columns])]
    for number in range(rows):
        text = " ".join(draw.choices(WORDS, k=8))
        lines.append(",".join([f"{text} {number}", f"label {draw.randrange(labels)}", *(make(number) for make in columns.values())]))
    return "\n".join(lines) + "\n"


def packed(**files: str) -> bytes:
    """A ZIP of CSV files, each named without its end."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.csv", text)
    return held.getvalue()


def sent(text: str | bytes, name: str = "tickets.csv", **values: Any) -> Sent:
    return Sent(io.BytesIO(text.encode() if isinstance(text, str) else text), name, **values)


def now(made: DatasetView | Upload) -> DatasetView:
    """A version that was made at once."""
    assert isinstance(made, DatasetView)
    return made


def wait_for(person: Who, key: int, *states: str, seconds: float = 40) -> Upload:
    """The upload once it is in one of these states."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        upload = uploads.find(person, key)
        if upload.state in states:
            return upload
        time.sleep(0.05)
    raise AssertionError(f"upload {key} is {uploads.find(person, key).state} after {seconds} s: {uploads.find(person, key).error}")


def die_at_work(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import it as a child that is killed once the older rows stand in the draft: nothing is tidied up behind it."""

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(versions, "_place", killed)
        patch.setattr(versions, "purge_draft", lambda _: None)
        patch.setattr(imports, "clear", lambda *_, **__: None)
        with pytest.raises(Killed):
            imports.run(upload.id)
