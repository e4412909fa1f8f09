"""The second process of the pair that `test_devices.py` tunes with: it takes part in one run after another, so that torch is imported once."""

import json
import os
import sys
from contextlib import nullcontext

import torch

from tests.engine.conftest import multiplying
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
        told = json.loads(line)
        rounded = told.pop("rounded")
        place = Place(**told)
        os.environ.update(place.environment())
        with multiplying() if rounded else nullcontext():
            take_part(from_json(sys.stdin.readline()), place)
        say("done")
