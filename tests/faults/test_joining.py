"""`fettle join` on another machine, as a process, against a web process: who came, which tokens are refused, and what is said of a clock that is wrong."""

import json
import re
import shlex
import subprocess

import pytest
from lxml.html import document_fromstring
from sqlalchemy import update

from app.db import transaction
from app.domain.base import db_now
from app.domain.machine import JoinToken
from app.services import machines
from tests.faults.site import Site
from tests.house.rules import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def join(site: Site, token: str, **faults: object) -> tuple[int, str]:
    """How the command ended on a machine called far, and all that it said: the command as the page has it."""
    printed = document_fromstring(site.page("/machines/new")).cssselect("#plain")[0].text_content().splitlines()
    (line,) = (line for line in printed if " join " in line)
    assert "make install" in printed and "\ninstall: " in (ROOT / "Makefile").read_text()
    command = shlex.split(line.replace("TOKEN", token))
    there = site.environment | site.machine("far") | {"TEST_FAULTS": json.dumps(faults)}
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_machine_joins_once_with_its_token_and_stands_on_the_page(site: Site) -> None:
    site.web()
    token = machines.make_token(site.person)
    code, said = join(site, token)
    assert code == 0, said
    assert "This is far: Fettle" in said and f"torch {machines.OURS['torch']}, transformers" in said and "The server takes it." in said and "Mind:" not in said
    assert "The database answers" in said and "The broker answers." in said
    page = " ".join(re.sub("<[^>]+>", " ", site.page("/machines/new")).split())
    assert "far joined cpu:0" in page and f"torch {machines.OURS['torch']}" in page and "agrees" in page

    code, said = join(site, token)
    assert code == 1 and "This token is unknown, was used before, or is older than an hour. Make a new one on the page" in said

    late = machines.make_token(site.person)
    with transaction() as session:
        session.execute(update(JoinToken).where(JoinToken.used_at.is_(None)).values(expires_at=db_now() - 1))
    code, said = join(site, late)
    assert code == 1 and "older than an hour" in said

    code, said = join(site, machines.make_token(site.person), skew=3600)
    assert code == 0 and re.search(r"This machine's clock is 3(599|600)\.\d s ahead of the server's", said), said
    assert re.search(r"Mind: Its clock is 3(599|600)\.\d s ahead\. Jobs do not mind", said)
    assert re.search(r"Its clock is 3(599|600)\.\d s ahead", site.page("/machines/new"))
