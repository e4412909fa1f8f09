"""docker-compose.yml is valid, and says nothing that the code does not know: no setting, no command."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli import app
from app.settings import Settings
from tests.house.rules import ROOT

COMPOSE = ROOT / "docker-compose.yml"
OURS = ("web", "worker-cpu", "engine-cpu", "worker-gpu", "engine-gpu", "light", "migrate", "samples", "starter")


def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def settings_names() -> set[str]:
    return {f"FETTLE_{name.upper()}" for name in Settings.model_fields}


def known_commands() -> set[tuple[str, ...]]:
    """Every command of the `fettle` program as its words."""
    root = typer.main.get_command(app)
    found: set[tuple[str, ...]] = set()
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found |= {(name, inner) for inner in command.commands} if hasattr(command, "commands") else {(name,)}
    return found


def valid(file: Path) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_file_follows_the_compose_specification(tmp_path: Path) -> None:
    assert valid(COMPOSE)
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("capabilities", "capabillities"))
    assert not valid(broken)


@pytest.mark.parametrize("name", OURS)
def test_our_services_use_known_settings_and_commands(name: str) -> None:
    service = services()[name]
    unknown = {key for key in service["environment"] if key.startswith("FETTLE_")} - settings_names()
    assert not unknown
    words = tuple(word for word in service["command"] if not word.startswith("-"))
    assert words in known_commands()


def test_the_names_are_really_looked_up() -> None:
    assert "FETTLE_DATABASE_URI" not in settings_names()
    assert ("web",) in known_commands()
    assert ("token", "create") in known_commands()
    assert ("serve",) not in known_commands()


def test_every_variable_is_explained_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    explained = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == explained


@pytest.mark.security
def test_secrets_have_no_default_and_the_port_is_local() -> None:
    text = COMPOSE.read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"FETTLE_SECRET_KEY", "POSTGRES_PASSWORD"}
    assert services()["web"]["ports"] == ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"]
    assert [name for name, service in services().items() if "ports" in service] == ["web"]


def test_workers_may_finish_a_step_before_they_are_killed() -> None:
    assert all(service["stop_grace_period"] == "60s" for name, service in services().items() if name.startswith("worker"))


def test_the_image_takes_what_the_rooms_need() -> None:
    copied = set(re.findall(r"^COPY (\w+) ", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    kept = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert {"app", "worker", "migrations", "samples", "static", "templates"} <= copied & kept


def test_the_image_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "USER fettle" in lines[lines.index("FROM python:3.12-slim") :]
    pinned = re.search(r"torch==[\d.]+", (ROOT / "scripts" / "bootstrap.py").read_text())
    assert pinned
    assert any(pinned[0] in line for line in lines)
