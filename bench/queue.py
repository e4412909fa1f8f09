"""What the database alone carries of the queue: `python -m bench.queue`. Transactions a second on SQLite and on PostgreSQL, from four processes.

A claim with its end (what a job costs the queue), a heartbeat (one for each running job every half a second), and a second's report of a running
job (one transaction with its metric points). No models, no broker: the rows and their rules as the workers use them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.upload import SETUP, postgresql
from tests.installation import environment, free_port

PROCESSES, SECONDS, JOBS, POINTS = 4, 2.0, 3000, 5

FILL = """
import sys
from sqlalchemy import insert, select
from app.db import transaction
from app.domain.base import db_now
from app.domain.job import Job
from app.domain.user import User
with transaction() as session:
    user = session.scalars(select(User)).first()
    row = dict(workspace_id=user.workspace_id, author_id=user.id, kind="tune", queue="gpu", name="x", settings={}, priority=0, state="queued", phases={})
    session.execute(insert(Job), [dict(row, position=at) for at in range(int(sys.argv[1]))])
    session.execute(insert(Job), [dict(row, position=0, queue="held", state="running", attempt=1, lease_token="t") for at in range(int(sys.argv[2]))])
"""

WORK = """
import sys, time
from sqlalchemy import select
from app.db import transaction
from app.domain import device as devices
from app.domain import ending
from app.domain import job as jobs
from app.domain import metric as metrics
from app.domain.job import Job

what, number, seconds, points = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
with transaction() as session:
    held = session.scalars(select(Job.id).where(Job.queue == "held").order_by(Job.id)).all()[number]


def claim(step):
    with transaction() as session:
        job = jobs.claim(session, "gpu", f"bench:{number}", 60)
    if job is None:
        raise SystemExit("no job is left")
    with transaction() as session:
        ending.succeed(session, job.id, job.lease_token, {})


def beat(step):
    with transaction() as session:
        jobs.beat(session, held, "t", 60)
        devices.keep(session, devices.job_holder(held, 1), 60)


def report(step):
    with transaction() as session:
        metrics.record(session, held, "t", 1, [(step, {f"value {at}": 0.5 for at in range(points)})], step=step)


do, done = {"claim": claim, "beat": beat, "report": report}[what], 0
sys.stdin.readline()
began = time.perf_counter()
while time.perf_counter() - began < seconds:
    do(done)
    done += 1
print(done / (time.perf_counter() - began))
"""


def rate(given: dict[str, str], what: str) -> float:
    """Transactions (or claims with their ends) a second of all processes together, which begin at the same time."""
    words = [sys.executable, "-c", WORK, what]
    running = [
        subprocess.Popen([*words, str(number), str(SECONDS), str(POINTS)], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate(timeout=120)[0]) for process in running)


def measure(name: str, url: str) -> str:
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        given = environment(Path(folder), free_port()) | ({"FETTLE_DATABASE_URL": url} if url else {})
        for code in ("from app.migrate import migrate; migrate()", SETUP, FILL):
            subprocess.run([sys.executable, "-c", code, str(JOBS), str(PROCESSES)], env=given, check=True, capture_output=True)
        found = [rate(given, what) for what in ("claim", "beat", "report")]
    return f"| {name} | {found[0]:,.0f} | {found[1]:,.0f} | {found[2]:,.0f} | {found[2] * POINTS:,.0f} |"


def main() -> None:
    print(f"{PROCESSES} processes on {os.cpu_count()} cores, the database beside them\n")
    print("| a second | jobs claimed and ended | heartbeats | reports | metric points |\n|---|---|---|---|---|")
    print(measure("SQLite", ""), flush=True)
    with postgresql() as url:
        print(measure("PostgreSQL", url))


if __name__ == "__main__":
    main()
