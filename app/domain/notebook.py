"""The notebook: every run of the Lab with what was asked, what came back and what it took."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ForeignKey, Index, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.access import Who
from app.domain.base import Base, Owned


class Run(Owned, Base):
    """One answer, or what stood in its place: `reason` is stop, length, cancelled (stopped, or its tab was closed) or failed.

    `ticket` is a word of the asker's own that finds the run again. `texts` are the answers one by one where several were asked for; `output` is all of them as
    one text. `prompt` and `parameters` are those of the run itself; `prompt_version` names the saved version where the run was asked for by one.
    `logprobs` holds the tokens of each text as `spelled` writes them, where they were asked for; `labels` how likely each label was, where that was asked
    for after the answer stood. Both are large, so they are read only where they are named. `weighing` is what the labels took at an endpoint:
    {input_tokens, output_tokens, estimated, cost}.
    """

    __tablename__ = "run"
    __table_args__ = (Index("ix_run_author_id", "author_id"), Index("ix_run_ticket", "ticket"))

    session: Mapped[str]
    ticket: Mapped[str | None]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id", ondelete="SET NULL"))
    model_name: Mapped[str]
    prompt_version: Mapped[str | None]
    prompt: Mapped[dict[str, Any]]
    variables: Mapped[dict[str, Any]]
    parameters: Mapped[dict[str, Any]]
    output: Mapped[str]
    texts: Mapped[list[Any] | None]
    logprobs: Mapped[list[Any] | None] = mapped_column(deferred=True)
    labels: Mapped[list[Any] | None] = mapped_column(deferred=True)
    reason: Mapped[str]
    error: Mapped[dict[str, Any] | None]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    latency_ms: Mapped[float | None]
    cost: Mapped[float | None]
    weighing: Mapped[dict[str, Any] | None]

    @property
    def spent(self) -> float | None:
        """US dollars for the answer and for weighing labels after it; none where neither has a price."""
        known = [cost for cost in (self.cost, (self.weighing or {}).get("cost")) if cost is not None]
        return sum(known) if known else None


def together(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What two weighings took: labels that were asked for again were paid for again."""
    if one is None or other is None:
        return dict(one or other or {}) or None
    costs = [each["cost"] for each in (one, other) if each["cost"] is not None]
    counts = {name: one[name] + other[name] for name in ("input_tokens", "output_tokens")}
    return {**counts, "estimated": one["estimated"] or other["estimated"], "cost": sum(costs) if costs else None}


def keepable(text: str) -> str:
    """A model's text as both databases can keep it: PostgreSQL knows no NUL character."""
    return text.replace("\0", "\ufffd")


def spelled(text: str, logprobs: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """A piece of a text by its tokens: [token, logprob, alternative, its logprob, ...] of each; [text] where they are not known or do not spell it.

    An answer that is held to a form begins without the white space that its first token may have: that is left out.
    """
    joined = "".join(one["token"] for one in logprobs)
    cut = len(joined) - len(text)
    if not logprobs or not joined.endswith(text) or joined[:cut].strip():
        return [[keepable(text)]] if text else []
    found = []
    for one in logprobs:
        token, cut = one["token"][cut:], max(0, cut - len(one["token"]))
        if token:
            said = ({**one, "token": token}, *one["top"])
            found.append([value for each in said for value in (keepable(each["token"]), round(each["logprob"], 4))])
    return found


def told(tokens: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The same as it was streamed: {token, logprob, top: [{token, logprob}]}; `logprob` is none where nothing is known."""
    return [
        {
            "token": token,
            "logprob": rest[0] if rest else None,
            "top": [{"token": one, "logprob": value} for one, value in zip(rest[1::2], rest[2::2], strict=True)],
        }
        for token, *rest in tokens
    ]


def trim(session: Session, person: Who, kept: int) -> None:
    """Let a person's oldest runs go above `kept`."""
    mine = Run.author_id == person.user_id
    last = session.scalars(select(Run.id).where(mine).order_by(Run.id.desc()).offset(kept).limit(1)).first()
    if last is not None:
        session.execute(delete(Run).where(mine, Run.id <= last))
