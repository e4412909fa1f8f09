"""The installation itself: the name by which it knows again what it has written outside its database."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.base import Base, Row
from app.domain.user import User


class Installation(Row, Base):
    """One row, which comes with its table. `name` is drawn at random then, so that no other installation has it; a backup takes it along."""

    __tablename__ = "installation"

    name: Mapped[str] = mapped_column(unique=True)


def own(session: Session) -> Installation:
    return session.scalars(select(Installation)).one()


def was_nameless(session: Session) -> bool:
    """Whether people worked here before installations had names: what it wrote then says nothing of whose it is."""
    return bool(session.scalar(select(exists().where(User.created_at < Installation.created_at))))
