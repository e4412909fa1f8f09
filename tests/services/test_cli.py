"""The `fettle` command: what a person types and reads."""

import re

import pytest
from typer.testing import CliRunner, Result

from app import doctor
from app.cli import app, main
from app.db import transaction
from app.domain.access import Who
from app.domain.user import User, open_invite, the_workspace, token_owner
from app.services.accounts import create_token, token_for


def fettle(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_token_is_printed_once_and_belongs_to_its_account(person: Who) -> None:
    secret = fettle("token", "create", "--name", "notebook").stdout.strip()
    with transaction() as session:
        owner = token_owner(session, secret)
        assert owner is not None
        assert owner.id == person.user_id


def test_without_an_account_there_is_no_token(database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fettle", "token", "create", "--name", "notebook"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == "There is no account yet.\nOpen the sign-in link that `fettle up` prints, or make one: `fettle user invite`.\n"


def test_with_several_accounts_one_must_be_named(person: Who) -> None:
    with transaction() as session:
        session.add(User(workspace_id=the_workspace(session).id, name="Bo", password_hash="!", role="member", disabled_at=None, seen_at=None))
    done = fettle("token", "create", "--name", "notebook")
    assert "Choose one with --user: Ada, Bo." in str(getattr(done.exception, "advice", ""))
    assert fettle("token", "create", "--name", "notebook", "--user", "Bo").exit_code == 0


@pytest.mark.parametrize(("options", "role"), [((), "member"), (("--admin",), "admin")])
def test_an_invitation_is_a_link(database: str, options: tuple[str, ...], role: str) -> None:
    link = fettle("user", "invite", *options).stdout.splitlines()[0]
    found = re.fullmatch(r"http://127\.0\.0\.1:8000/welcome/(\S+)", link)
    assert found
    with transaction() as session:
        row = open_invite(session, found[1])
        assert row is not None
        assert row.role == role


def test_migrate_says_what_it_found(database: str) -> None:
    assert "was already at" in fettle("migrate").stdout


def test_the_doctor_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "torch", lambda: doctor.Finding("PyTorch"))
    monkeypatch.setenv("FETTLE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("FETTLE_SECRET_KEY", "short")
    done = fettle("doctor")
    assert done.exit_code == 1
    for sentence in ("shorter than 32", "Run `fettle migrate`.", "The broker does not answer"):
        assert sentence in done.stdout


def test_the_doctor_is_content_with_a_migrated_database(database: str, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "torch", lambda: doctor.Finding("PyTorch"))
    done = fettle("doctor")
    assert done.exit_code == 0, done.stdout
    assert "No worker is there: jobs wait." in done.stdout
    assert "`fettle models starter` fetches it" in done.stdout


def test_a_token_for_the_only_account_needs_no_name(person: Who) -> None:
    assert token_for("", "a").startswith("fettle_")
    assert token_for("Ada", "b") != create_token(person, "c")
