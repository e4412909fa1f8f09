"""An object store for tests: moto's server, which speaks S3 over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from app import storage
from app.broker import wait
from app.settings import settings
from tests.installation import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """moto's server: it speaks S3, and forgets everything when it ends. Gives its address."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        address = f"http://127.0.0.1:{port}"
        assert wait(lambda: _answers(address) or running.poll() is not None, 90) and running.poll() is None, "moto does not start"
        yield address
        running.terminate()


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/moto-api/", timeout=5) as answer:  # noqa: S310 our own address
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty bucket, and this process's settings for it. Gives FETTLE_STORAGE."""
    name = tmp_path.name.replace("_", "-").lower()[:40].strip("-")
    with urlopen(Request(f"{s3_server}/{name}", method="PUT"), timeout=10):  # noqa: S310
        pass
    for key, value in (KEYS | {"AWS_ENDPOINT_URL": s3_server, "FETTLE_STORAGE": f"s3://{name}/fettle"}).items():
        monkeypatch.setenv(key, value)
    storage.store.cache_clear()
    settings.cache_clear()
    yield f"s3://{name}/fettle"
    storage.store.cache_clear()
