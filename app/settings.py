"""Where things are. One frozen Settings, and the only place that reads the environment (`FETTLE_*`)."""

import hashlib
import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import Invalid


class Settings(BaseSettings):
    """Every setting with its meaning. Paths that are not given lie under `data`."""

    model_config = SettingsConfigDict(env_prefix="FETTLE_", frozen=True, extra="ignore")

    data: Path = Field(Path("data"), description="One folder for everything that has no setting of its own: database, models, artefacts, logs.")
    database_url: str = Field("", description="SQLAlchemy address of the database. Empty: SQLite in the data folder. PostgreSQL: postgresql+psycopg://...")
    redis_url: str = Field("", description="Redis or Valkey address. Empty: `fettle up` starts an embedded Valkey on a unix socket.")
    storage: str = Field(
        "",
        description="Folder for artefacts and checkpoints. Empty: `storage` in the data folder. An object store that several machines share, "
        "one prefix for each installation: s3://bucket/prefix, with its keys in AWS_ACCESS_KEY_ID and the other AWS_ variables; what a machine uses of it lies in its data folder too.",
    )
    secret_key: str = Field(
        "", description="Key for signed values and stored endpoint keys, at least 32 characters. Empty: made once, kept in the data folder."
    )
    host: str = Field("127.0.0.1", description="Address the web process listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the web process listens on.")
    reload: bool = Field(False, description="For development: look at every template again each time it is used. `--reload` sets it.")
    public_url: str = Field("", description="Address people use, when it differs from host and port (behind a proxy).")
    hosts: list[str] = Field([], description='More host names this installation answers to, as JSON: ["fettle.example.org"].')
    allowed_endpoints: list[str] = Field(
        [], description='Private addresses that model endpoints may have, each host:port exactly as in the URL, as JSON: ["localhost:11434"].'
    )
    secure_cookies: bool = Field(False, description="Send the session cookie over HTTPS only. Turn on behind TLS.")
    device: str = Field("auto", description="Where models run: auto, cpu, or cuda:0 and so on.")
    machine: str = Field("", max_length=100, description="Name of this machine among those that work for one installation. Empty: its host name.")
    device_memory: int = Field(0, ge=0, description="Bytes of each device here that loaded models and jobs may take together; 0: all its memory.")
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of one job; 0 takes every core, and on a resume as many as the run began with. Recorded with the job: results are bit-exact for the same number, and a resume with another says so.",
    )
    engine_memory: int = Field(4_000_000_000, ge=0, description="Bytes of model weights that the engine process keeps loaded.")
    lease_seconds: int = Field(30, ge=3, le=3600, description="A running job whose worker is silent for so long is taken back.")
    checkpoint_seconds: float = Field(
        120, ge=0, description="A training run is saved so often, so that it loses no more when it is killed; 0: after every step."
    )
    keep_checkpoints_days: int = Field(14, ge=0, le=36_500, description="Days after a job's end for which its newest two checkpoints are kept for a retry.")
    keep_logs_days: int = Field(90, ge=1, le=36_500, description="Days after a job's end for which its log is kept. Results, curves and samples stay for ever.")
    upload_bytes: int = Field(200_000_000, ge=1, description="Largest file that can be uploaded.")
    notebook_runs: int = Field(1000, ge=1, le=1_000_000, description="Runs of the Lab that the notebook keeps for each person; older ones go.")
    hub: bool = Field(False, description="Allow models to be fetched from a Hugging Face hub (HF_ENDPOINT names it).")

    @property
    def folder(self) -> Path:
        return self.data.expanduser().resolve()

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.folder / 'fettle.db'}"

    @property
    def storage_folder(self) -> Path:
        return Path(self.storage).expanduser().resolve() if self.storage and not self.stored_remotely else self.folder / "storage"

    @property
    def stored_remotely(self) -> bool:
        return "://" in self.storage

    @property
    def machine_name(self) -> str:
        return self.machine or socket.gethostname()

    @property
    def models_folder(self) -> Path:
        return self.folder / "models"

    @property
    def run_folder(self) -> Path:
        """Sockets and pid files. Short on purpose: a unix socket's path holds at most 107 bytes."""
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")  # noqa: S108 the folder itself is made with mode 0700
        return base / f"fettle-{os.getuid()}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]}"

    @property
    def broker(self) -> str:
        return self.redis_url or f"redis+socket://{self.run_folder / 'broker.sock'}"

    @property
    def redis(self) -> str:
        """The same broker in redis-py's spelling (Celery and redis-py name unix sockets differently)."""
        return self.broker.replace("redis+socket://", "unix://")

    @property
    def address(self) -> str:
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def key(self) -> bytes:
        """The secret key, 32 bytes. Made on first use when none is set."""
        if self.secret_key:
            if len(self.secret_key) < 32:
                raise Invalid(
                    "weak_secret", "FETTLE_SECRET_KEY is shorter than 32 characters.", "Make one: python -c 'import secrets; print(secrets.token_hex(32))'"
                )
            return hashlib.sha256(self.secret_key.encode()).digest()
        path = self.folder / "secret"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            pass
        return hashlib.sha256(path.read_bytes()).digest()


@lru_cache
def settings() -> Settings:
    """The installation's settings, read once a process."""
    return Settings()
