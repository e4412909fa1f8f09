"""The messenger: a thread of web that sends what webhooks are to be told. A message that is due is taken by one web process, wherever it was queued."""

from app.rounds import Rounds
from app.services import webhooks


class Messenger(Rounds):
    """Apart from the dispatcher, because a slow receiver must not keep a job waiting."""

    def __init__(self) -> None:
        super().__init__("messenger", [self._send])

    def _send(self) -> None:
        while not self._ended.is_set() and webhooks.send_next():
            pass
