"""Endpoints: OpenAI-compatible servers by address and key, and the models that were taken from them.

A remote model is a row of `model` (kind remote) whose alias is `endpoint/model`, so everything that names a model can name it. How an
endpoint is asked is `app/remote`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import UniqueConstraint, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who, owned
from app.domain.base import Base, Owned
from app.domain.evaluation import Evaluation
from app.domain.experiment import Cell, Experiment
from app.domain.judgement import Judgement
from app.domain.model import Model
from app.domain.sealing import seal, unseal
from app.errors import Conflict, Invalid

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
KEY = re.compile(r"[\x21-\x7e]{1,4000}")
LONGEST_MODEL_NAME = 200
DEFAULTS = {"concurrency": 4, "time_out": 60}
LIMITS = {"concurrency": (1, 256), "time_out": (1, 3600)}
"""Requests at once, and the most seconds that one answer may take."""

MOST_TOKENS = 100_000_000
"""The largest window that one may say a model has."""


@dataclass(frozen=True)
class Window:
    """The tokens that a remote model takes at once, prompt and answer together; `tokenizer` is the model here that counts like it, None where none is known."""

    tokens: int
    tokenizer: int | None = None


class Endpoint(Owned, Base):
    """`url` is canonical, `origin` its scheme, host and port: what the key belongs to. `prices` are dollars a million tokens by model, `*` for the rest.

    `windows` says in the same way how many tokens a model takes and which model here counts like it: {"tokens", "tokenizer"}, each of them or both.
    `probe` is what the last test found, none while the endpoint has not been tested at its present address.
    """

    __tablename__ = "endpoint"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    name: Mapped[str]
    url: Mapped[str]
    origin: Mapped[str]
    sealed_key: Mapped[str | None]
    prices: Mapped[dict[str, Any]] = mapped_column(default=dict)
    windows: Mapped[dict[str, Any]] = mapped_column(default=dict)
    concurrency: Mapped[int] = mapped_column(default=DEFAULTS["concurrency"])
    time_out: Mapped[float] = mapped_column(default=DEFAULTS["time_out"])
    probe: Mapped[dict[str, Any] | None]
    tested_at: Mapped[int | None]

    @property
    def has_key(self) -> bool:
        return self.sealed_key is not None

    @property
    def likelihood_refused(self) -> str:
        """Why likelihoods cannot be had here; "" when the last test showed that they can."""
        if self.probe is None:
            return f"{self.name} has not been tested: whether it gives likelihoods is not known."
        return str(self.probe["reason"])

    def window(self, model: str) -> Window | None:
        """What a model takes at once: as said for it, else as the endpoint itself listed it, else as said for every other one; None where nobody has said it."""
        own, every = self.windows.get(model) or {}, self.windows.get("*") or {}
        tokens = own.get("tokens") or self.listed_window(model) or every.get("tokens")
        return Window(int(tokens), own.get("tokenizer") or every.get("tokenizer")) if tokens else None

    def listed_window(self, model: str) -> int | None:
        """The window that the endpoint listed for a model when it was tested."""
        found = ((self.probe or {}).get("windows") or {}).get(model)
        return int(found) if found else None

    def lock(self, key: str | None, secret: bytes) -> None:
        """Keep a key for the present origin; None or "" forgets it. Raises Invalid for what cannot stand in a header."""
        if key and not KEY.fullmatch(key):
            raise Invalid("bad_key", "A key has no spaces, line ends or letters beyond ASCII.", "Copy it again.", detail={"field": "key"})
        self.sealed_key = seal(key, secret, self.origin) if key else None

    def key(self, secret: bytes) -> str | None:
        """The key in the clear. Raises Conflict when it cannot be read any more."""
        return unseal(self.sealed_key, secret, self.origin) if self.sealed_key else None

    def facts(self, secret: bytes) -> dict[str, Any]:
        """What `app.remote.spec.EndpointSpec` takes from this row, the key in the clear."""
        about = {name: getattr(self, name) for name in ("id", "name", "url", "concurrency", "time_out")}
        return about | {"key": self.key(secret), "completions": bool(self.probe and self.probe["completions"])}

    def move(self, url: str, origin: str, key: str | None) -> None:
        """Another address. Raises Invalid when scheme, host or port change and the stored key would go with them; `key` is the one given with it."""
        if origin != self.origin:
            if self.has_key and key is None:
                raise Invalid(
                    "key_needed",
                    f"The stored key belongs to {self.origin} and is not sent elsewhere.",
                    'Enter the key again for the new address, or send "" for none.',
                    detail={"field": "key"},
                )
            self.sealed_key = None
        if url != self.url:
            self.probe, self.tested_at = None, None
        self.url, self.origin = url, origin


def named(name: str) -> str:
    """A name that can stand before a slash in a model's name. Raises Invalid."""
    text = name.strip().lower()
    if not NAME.fullmatch(text):
        raise Invalid(
            "bad_name", f"“{name.strip()}” cannot be an endpoint's name.", "Use small letters, digits, dots and dashes: it becomes the first part of its models' names.",
            detail={"field": "name"},
        )  # fmt: skip
    if text == "local":
        raise Invalid("bad_name", "“local” is this installation's own endpoint.", "Choose another name.", detail={"field": "name"})
    return text


def free(session: Session, person: Who, name: str, but: int | None = None) -> None:
    """Raises Conflict when the name is taken by another endpoint than `but`."""
    query = select(Endpoint.id).where(Endpoint.workspace_id == person.workspace_id, Endpoint.name == name)
    found = session.scalars(query).first()
    if found is not None and found != but:
        raise Conflict("name_taken", f"There is already an endpoint named {name}.", "Choose another name.", detail={"field": "name"})


def models_of(session: Session, endpoints: Iterable[int]) -> dict[int, list[Model]]:
    """The models taken from each endpoint, by name."""
    found: dict[int, list[Model]] = {key: [] for key in endpoints}
    for model in session.scalars(select(Model).where(Model.endpoint_id.in_(found)).order_by(Model.name)):
        found[model.endpoint_id or 0].append(model)
    return found


def alias(endpoint: Endpoint, name: str) -> str:
    return f"{endpoint.name}/{name}"


def take(session: Session, person: Who, endpoint: Endpoint, names: Sequence[str]) -> None:
    """Make the endpoint's models these: new ones are added, others go. Raises Conflict for one that is in use, Invalid for a name that is none."""
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    bad = next((name for name in wanted if len(name) > LONGEST_MODEL_NAME or not name.isprintable()), None)
    if bad is not None:
        raise Invalid("bad_model_name", f"“{bad[:60]}” cannot be a model's name.", "Give it as the endpoint lists it.", detail={"field": "models"})
    there = {model.remote_name: model for model in models_of(session, [endpoint.id])[endpoint.id]}
    for name, model in there.items():
        model.alias = alias(endpoint, name or "")
        if name not in wanted:
            _drop(session, model)
    for name in wanted:
        if name not in there:
            about = {"kind": "remote", "folder": "", "content_hash": "", "parameters": 0, "endpoint_id": endpoint.id, "remote_name": name}
            session.add(Model(**owned(person), name=name, alias=alias(endpoint, name), **about))
    session.flush()


def _drop(session: Session, model: Model) -> None:
    """Take a model out. Raises Conflict naming what was measured with it: those figures would lose what they are about."""
    users = [
        (table, session.scalar(select(func.count()).select_from(table).where(table.model_id == model.id)) or 0)
        for table in (Evaluation, Experiment, Cell, Judgement)
    ]
    used = [f"{count} {table.__tablename__}{'s' if count > 1 else ''}" for table, count in users if count]
    if used:
        raise Conflict(
            "in_use", f"{model.alias} is used by {', '.join(used)}.", "Delete those first, or keep the model: it costs nothing.", detail={"field": "models"}
        )
    session.execute(delete(Model).where(Model.id == model.id))


def remove(session: Session, endpoint: Endpoint) -> None:
    """Delete an endpoint with its key and its models. Raises Conflict while one of them is in use."""
    for model in models_of(session, [endpoint.id])[endpoint.id]:
        _drop(session, model)
    session.delete(endpoint)
    session.flush()


def of_model(session: Session, model: Model) -> Endpoint:
    return session.get_one(Endpoint, model.endpoint_id)


def check_answer(session: Session, model: Model, answer: str, labels: Sequence[str], mode: str) -> None:
    """Raises Invalid when a remote model cannot be scored this way, with the reason. `mode` is the prompt's."""
    if model.endpoint_id is None or answer != "likelihood":
        return
    reason = of_model(session, model).likelihood_refused
    if not reason and mode == "chat":
        reason = "A chat prompt is not raw text there, so an answer's likelihood after it is not known."
    begins = next(((one, other) for one in labels for other in labels if one != other and other.startswith(one)), None)
    if not reason and begins:
        reason = f"The label {begins[0]} begins the label {begins[1]}, and without an end token the shorter one always wins."
    if reason:
        raise Invalid("no_likelihood", f"{model.alias} cannot be scored by likelihood. {reason}", "Score it by generation: answer = generate.")


def check_window(session: Session, model: Model, policy: str) -> None:
    """Raises Invalid when rows shall be made to fit a remote model of which nobody knows how much it takes."""
    if model.endpoint_id is not None and policy != "refuse" and of_model(session, model).window(model.remote_name or "") is None:
        raise unknown_window(model)


def unknown_window(model: Model) -> Invalid:
    """Nobody has said how many tokens a remote model takes."""
    message = f"How many tokens {model.slug} takes at once is not known here, so nobody can say before whether rows fit it, nor make them fit."
    advice = "Say its window on its endpoint's page; testing the endpoint finds it where the server lists it."
    return Invalid("window_unknown", message, advice, detail={"field": "fit"})


def check_windows(session: Session, person: Who, windows: Mapping[str, Mapping[str, Any]], known: Iterable[str]) -> dict[str, dict[str, int]]:
    """What is said of windows, without what is not said. Raises Invalid for a model that the endpoint was not asked for, or a tokenizer that is none."""
    unknown = sorted(set(windows) - {"*", *known})
    if unknown:
        message = f"A window is said of {unknown[0]}, which is not among the endpoint's models."
        raise Invalid("unknown_model", message, "Name it in models, or use *.", detail={"field": "windows"})
    for said in windows.values():
        model = session.get(Model, said["tokenizer"]) if said.get("tokenizer") else None
        if said.get("tokenizer") and (model is None or model.workspace_id != person.workspace_id or model.remote):
            raise Invalid("not_local", f"Model {said['tokenizer']} is none of this installation's.", "Choose a local model.", detail={"field": "windows"})
    kept = {name: {field: int(value) for field, value in said.items() if value} for name, said in windows.items()}
    return {name: said for name, said in kept.items() if said}


def check_prices(prices: Mapping[str, Mapping[str, float]], known: Iterable[str]) -> None:
    """Raises Invalid for a price of a model that the endpoint was not asked for."""
    unknown = sorted(set(prices) - {"*", *known})
    if unknown:
        raise Invalid(
            "unknown_model",
            f"There is a price for {unknown[0]}, which is not among the endpoint's models.",
            "Name it in models, or use *.",
            detail={"field": "prices"},
        )
