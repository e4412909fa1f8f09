"""The second process of the pair that `test_devices.py` tunes with: it takes part in one run after another, so that torch is imported once."""

import json
import os
import sys

import torch

from worker.engine.place import Place
from worker.engine.spec import from_json
from worker.engine.train import take_part


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    say("ready")
    while line := sys.stdin.readline():
        place = Place(**json.loads(line))
        os.environ.update(place.environment())
        take_part(from_json(sys.stdin.readline()), place)
        say("done")
