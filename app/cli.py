"""The `fettle` command. Each command is a few lines: what it does is in the file it calls."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.errors import FettleError

app = typer.Typer(
    help="Fettle: prompt lab, tuning console and the ladder between them.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
token = typer.Typer(help="API tokens.", no_args_is_help=True)
user = typer.Typer(help="Accounts.", no_args_is_help=True)
models = typer.Typer(help="Foundation models.", no_args_is_help=True)
app.add_typer(token, name="token")
app.add_typer(user, name="user")
app.add_typer(models, name="models")


@app.command()
def up(reload: Annotated[bool, typer.Option("--reload", help="For development: start web again when a file changes.")] = False) -> None:
    """Run everything on this machine until Ctrl-C."""
    from app.supervisor import up as run

    run(reload)


@app.command()
def web(reload: Annotated[bool, typer.Option("--reload", help="For development: start again when a file changes.")] = False) -> None:
    """Run the web process: pages and APIs."""
    import uvicorn

    from app.parts import fit_to_start
    from app.settings import settings

    if reload:
        os.environ["FETTLE_RELOAD"] = "true"  # its server is another process
    here = settings()
    fit_to_start(here, jobs=False)
    uvicorn.run(
        "app.main:app",
        host=here.host,
        port=here.port,
        server_header=False,
        timeout_graceful_shutdown=5,
        log_level="warning",
        reload=reload,
        reload_dirs=["app"] if reload else None,
    )


@app.command()
def worker(light: Annotated[bool, typer.Option("--light", help="Only jobs that ask endpoints; needs no device.")] = False) -> None:
    """Run a worker: jobs that tune and evaluate, one at a time."""
    from app.joining import fit_to_work
    from app.parts import fit_to_start
    from app.settings import settings

    fit_to_start(settings())
    fit_to_work()
    _celery("light" if light else "worker", "-Q", "light" if light else "gpu", "--pool", "prefork", "-c", "1")


@app.command()
def engine() -> None:
    """Run the engine process: keeps models loaded and answers the lab and /v1."""
    _celery("engine", "-Q", "interactive", "--pool", "threads", "-c", "16")


@app.command()
def join(
    address: Annotated[str, typer.Argument(help="The server's address, as people use it.")],
    token: Annotated[str, typer.Option(help="From the page “Add a machine”; it works once.")],
) -> None:
    """Present this machine to an installation and check that it can work for it."""
    from app.joining import join as run

    run(address, token, typer.echo)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.migrate import current, newest
    from app.migrate import migrate as run

    before = current()
    run()
    typer.echo(f"The database is at {newest()}." if before != newest() else f"The database was already at {before}.")


@app.command()
def seed(new: Annotated[bool, typer.Option("--new", help="Only while there is no account yet.")] = False) -> None:
    """Load the sample tasks that are not there yet."""
    from app.services.accounts import has_accounts
    from app.services.seed import seed as run

    if new and has_accounts():
        typer.echo("There are accounts already; the sample tasks are left as they are.")
        return
    run(typer.echo)
    typer.echo("The sample tasks are there.")


@app.command()
def doctor() -> None:
    """Look at every part and say what is wrong and what to do."""
    from app.doctor import examine

    findings = list(examine())
    for finding in findings:
        typer.echo(f"  {finding.sign} {finding.text}")
        if finding.advice:
            typer.echo(f"      {finding.advice}")
    raise typer.Exit(1 if any(finding.bad for finding in findings) else 0)


@app.command()
def backup(archive: Path, models: Annotated[bool, typer.Option(help="Foundation models too; they can be large.")] = False) -> None:
    """Write database, artefacts and secret key into a new archive. Fettle may be running."""
    from app.backup import backup as run

    run(archive, models, typer.echo)


@app.command()
def restore(archive: Path) -> None:
    """Unpack an archive of `fettle backup` into an empty data folder."""
    from app.backup import restore as run

    run(archive, typer.echo)


@token.command("create")
def token_create(
    name: Annotated[str, typer.Option(help="What will use it, to tell tokens apart.")],
    user: Annotated[str, typer.Option(help="Whose token; may be left out while there is one account.")] = "",
) -> None:
    """Print a new API token. It is shown once."""
    from app.services.accounts import token_for

    typer.echo(token_for(user, name))


@user.command("invite")
def user_invite(admin: Annotated[bool, typer.Option("--admin", help="May invite others.")] = False) -> None:
    """Print a one-time link that makes an account."""
    from app.db import transaction
    from app.domain.user import INVITE_HOURS, invite
    from app.settings import settings

    with transaction() as session:
        secret = invite(session, "admin" if admin else "member")
    typer.echo(f"{settings().address}/welcome/{secret}")
    typer.echo(f"It works once, within {INVITE_HOURS} hours.", err=True)


@models.command("add")
def models_add(
    folder: Path,
    name: Annotated[str, typer.Option(help="Shown name; the folder's name when left out.")] = "",
    alias: Annotated[str, typer.Option(help="Short name that API clients may use.")] = "",
    licence: Annotated[str, typer.Option(help="The model's licence, for example Apache-2.0.")] = "",
) -> None:
    """Register a folder of safetensors weights (Hugging Face layout) as a foundation model. The files are copied."""
    _python("worker.models", "add", str(folder), "--name", name, "--alias", alias, "--licence", licence)


@models.command("starter")
def models_starter() -> None:
    """Fetch, check, convert and register the starter model."""
    _python("worker.models", "starter")


def _celery(node: str, *options: str) -> NoReturn:
    """Become a Celery process. Its name holds the process's number, so that several may run on one machine. Raises Unavailable, Conflict."""
    from app.migrate import refuse_unknown
    from app.parts import fit_to_start
    from app.settings import settings
    from app.storage import refuse_other

    fit_to_start(settings())
    refuse_unknown()
    refuse_other()
    arguments = ["-m", "celery", "-A", "worker.celery_app", "worker", *options, "-n", f"{node}-{os.getpid()}@%h", "--loglevel", "INFO", "--without-mingle"]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 a list of our own words


def _python(module: str, *arguments: str) -> None:
    """Run a module of the worker room in a process of its own: this one must not load torch."""
    raise typer.Exit(subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode)


def main() -> None:
    """The entry point: errors that a person can be told become two lines and exit code 1."""
    try:
        app()
    except FettleError as error:
        sys.stderr.write(f"{error.message}\n{error.advice}\n".rstrip("\n") + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
