"""How fast the Lab answers, against bare `model.generate` calls on the same machine in the same run: `python -m bench.lab`.

A whole installation (`fettle up`) with the starter model is asked through `POST /api/v1/generate`; a bare model in this process answers the
same token ids. Ours and theirs take turns, so that what else the machine does meets both. `--quick` does less of everything.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from app.domain.generation import Parameters
from app.domain.rendering import Shot, Template, render
from bench.data import MODEL, WORDS, prepare_model
from tests.installation import Running, free_port, start

CROWD = 16
CALM_LOOKS = 6
LABELS = ("delivery", "refund", "card")
MOST_OVER = 25.0

READ = 3.0
"""Seconds in which a person reads a first answer, before the next question."""

SETUP = """
from app.db import transaction
from app.domain.access import who
from app.domain.user import User, the_workspace, new_token
with transaction() as session:
    user = User(workspace_id=the_workspace(session).id, name="Bench", password_hash="!", role="admin", disabled_at=None, seen_at=None)
    session.add(user)
    session.flush()
    print(new_token(session, user, "bench")[1])
"""


@dataclass
class Told:
    """What one request through the API gave: text, seconds to its first token and to its end."""

    text: str = ""
    first: float = 0.0
    end: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)


def question(number: int) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=12))


def template(shots: int) -> Template:
    return Template("structured", "What is this message about?", shots=tuple(Shot(question(10_000 + at), LABELS[at % 3]) for at in range(shots)))


class Site:
    """The installation, and one connection a thread to it."""

    def __init__(self, running: Running, token: str) -> None:
        self._running = running
        self._port = int(running.environment["FETTLE_PORT"])
        self._head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Host": "127.0.0.1"}
        self.model = json.loads(self._get("/api/v1/models"))["items"][0]["id"]

    def wait_for_chores(self) -> None:
        """The sample data's own work (search index, near-duplicates) is done."""
        quiet = 0
        while quiet < CALM_LOOKS:
            quiet = 0 if self._running.find("import_child") else quiet + 1
            time.sleep(0.5)

    def processor(self) -> float:
        """Processor seconds that the installation's processes have taken."""
        total = 0.0
        for process in self._running.family():
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:2])
        return total

    def ask(self, shots: int, text: str, tokens: int, held: Sequence[str] | None = None) -> Told:
        """Exactly so many tokens, greedily, as server-sent events; or one of the texts that the answer is held to."""
        prompt = template(shots)
        fields = {"instruction": prompt.instruction, "shots": [{"input": shot.input, "output": shot.output} for shot in prompt.shots]}
        parameters = {"max_tokens": tokens, "choices": list(held)} if held else {"max_tokens": tokens, "min_tokens": tokens, "stop": []}
        body = {"model": self.model, "prompt": fields, "variables": {"input": text}, "parameters": parameters, "stream": True}
        connection, told, name = HTTPConnection("127.0.0.1", self._port, timeout=600), Told(), ""
        began = time.perf_counter()
        connection.request("POST", "/api/v1/generate", json.dumps(body), self._head)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        for line in answer:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: ") and not name:
                told.first = told.first or time.perf_counter() - began
                told.text += json.loads(line[6:])["text"]
            elif line.startswith(b"data: ") and name in ("done", "error"):
                told.end, told.counts = time.perf_counter() - began, json.loads(line[6:])
            elif not line.strip():
                name = ""
        assert "reason" in told.counts, told.counts
        connection.close()
        return told

    def crowd(self, shots: int, texts: Sequence[str], tokens: int) -> tuple[float, list[Told]]:
        """All at once: seconds until the last has ended, and what each gave."""
        found: list[Told] = [Told() for _ in texts]

        def one(at: int) -> None:
            found[at] = self.ask(shots, texts[at], tokens)

        threads = [threading.Thread(target=one, args=(at,)) for at in range(len(texts))]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began, found

    def count(self, text: str) -> float:
        """Seconds of counting a prompt's tokens: the same way there and back (HTTP, database, Celery, Redis, tokenizer) without the model."""
        body = {"model": self.model, "prompt": {"instruction": template(0).instruction}, "variables": {"input": text}}
        connection, began = HTTPConnection("127.0.0.1", self._port, timeout=60), time.perf_counter()
        connection.request("POST", "/api/v1/generate/count", json.dumps(body), self._head)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()
        return time.perf_counter() - began

    def _get(self, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", path, headers=self._head)
        return connection.getresponse().read()


class Bare:
    """`model.generate`, one call after another."""

    def __init__(self) -> None:
        from worker.engine.load import load

        self._loaded = load(MODEL, device="cpu")

    def ids(self, shots: int, text: str) -> list[int]:
        from worker.engine.generate import prepare

        return list(prepare(self._loaded, render(template(shots), {"input": text}), Parameters()).ids)

    def write(self, ids: Sequence[int], tokens: int) -> tuple[float, str]:
        """Seconds, and the text."""
        import torch

        given, began = torch.tensor([list(ids)]), time.perf_counter()
        with torch.no_grad():
            mask = torch.ones_like(given)
            out = self._loaded.model.generate(
                input_ids=given, attention_mask=mask, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0
            )
        took = time.perf_counter() - began
        return took, str(self._loaded.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True))


@contextmanager
def installation() -> Iterator[Site]:
    import subprocess

    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / "models").symlink_to(MODEL.parent)
        running = start(folder, free_port())
        try:
            made = subprocess.run([sys.executable, "-c", SETUP], env=running.environment, capture_output=True, text=True, check=True)
            yield Site(running, made.stdout.split()[-1])
        finally:
            running.process.terminate()
            running.process.wait(30)


def first_token(site: Site, bare: Bare, rounds: int) -> tuple[float, float, float]:
    """Median milliseconds to the first token, ours and theirs, and of the way there and back alone. Every prompt is a new one, so nothing is
    known of it. In blocks, each after a call that does not count: whoever has waited for the other begins slowly."""
    ours, theirs, texts = list[float](), list[float](), [question(number) for number in range(rounds)]
    for block in (texts[::2], texts[1::2]):
        bare.write(bare.ids(0, "warm"), 8)
        theirs += [bare.write(bare.ids(0, text), 1)[0] for text in block]
        site.ask(0, "warm", 8)
        ours += [site.ask(0, text, 1).first for text in block]
    way = [site.count(text) for text in texts]
    return statistics.median(ours) * 1000, statistics.median(theirs) * 1000, statistics.median(way) * 1000


def first_held(site: Site) -> tuple[float, float]:
    """Milliseconds of the first answer that is held to a list since the model was loaded, and of the same again, the median of five. Somebody has
    read an answer of that model before."""
    time.sleep(READ)
    first, *others = (site.ask(0, question(number), 8, LABELS).end for number in range(6))
    return first * 1000, statistics.median(others) * 1000


@dataclass
class Pair:
    """Ours and theirs: seconds by the clock, and of the processor."""

    ours: float = 0.0
    theirs: float = 0.0
    our_processor: float = 0.0
    their_processor: float = 0.0

    def ratios(self) -> tuple[float, float]:
        return self.theirs / self.ours, self.their_processor / self.our_processor


def single(site: Site, bare: Bare, rounds: int, tokens: int) -> Pair:
    """Whole answers of one stream, first token included."""
    pair, texts = Pair(), [question(500 + number) for number in range(rounds)]
    bare.write(bare.ids(0, "warm"), 8)
    began = time.process_time()
    pair.theirs = sum(bare.write(bare.ids(0, text), tokens)[0] for text in texts)
    pair.their_processor = time.process_time() - began
    site.ask(0, "warm", 8)
    before = site.processor()
    pair.ours = sum(site.ask(0, text, tokens).end for text in texts)
    pair.our_processor = site.processor() - before
    return pair


def crowded(site: Site, bare: Bare, shots: int, tokens: int, first: int) -> tuple[Pair, int, int]:
    """CROWD requests at once against as many calls one after another, half of them before and half after; prompt tokens of one; and how many
    answers are the same."""
    texts = [question(first + number) for number in range(CROWD)]
    prompts = [bare.ids(shots, text) for text in texts]
    began = time.process_time()
    before = [bare.write(ids, tokens) for ids in prompts[: CROWD // 2]]
    spent, mark = time.process_time() - began, site.processor()
    ours, told = site.crowd(shots, texts, tokens)
    our_processor, began = site.processor() - mark, time.process_time()
    every = [*before, *(bare.write(ids, tokens) for ids in prompts[CROWD // 2 :])]
    pair = Pair(ours, sum(took for took, _ in every), our_processor, spent + time.process_time() - began)
    same = sum(one.text.rstrip("�") == text.rstrip("�") for one, (_, text) in zip(told, every, strict=True))
    return pair, len(prompts[0]), same


def line(what: str, pair: Pair, target: float) -> str:
    clock, processor = pair.ratios()
    met = "met" if clock >= target else "MISSED"
    return f"| {what} | {pair.ours:.2f} s | {pair.theirs:.2f} s | **{clock:.2f}** | {processor:.2f} | {target:g} {met} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    quick = parser.parse_args().quick
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_model()
    import torch

    with installation() as site:
        bare = Bare()
        site.ask(0, "warm", 4)
        held = first_held(site)
        bare.write(bare.ids(0, "warm"), 4)
        site.count("warm")
        site.wait_for_chores()
        ours, theirs, way = first_token(site, bare, 5 if quick else 15)
        over = ours - theirs
        print("| what | through the API | `generate` | ratio | by processor time | target |\n|---|---|---|---|---|---|", flush=True)
        met = "met" if over <= MOST_OVER else "MISSED"
        print(f"| time to first token | {ours:.0f} ms | {theirs:.0f} ms | **{over:+.0f} ms** | | at most +{MOST_OVER:g} ms {met} |", flush=True)
        print(f"| the same way without the model: counting the prompt's tokens | {way:.0f} ms | | | | |", flush=True)
        print(f"| the first answer held to a list, and later ones | {held[0]:.0f} ms, {held[1]:.0f} ms | | | | |", flush=True)
        tokens = 24 if quick else 48
        print(line(f"one stream of {tokens} tokens, first to last", single(site, bare, 2 if quick else 5, tokens), 1.0), flush=True)
        few = (("few-shot prompt, read for the first time", 16, 8), ("the same few-shot prompt, other questions", 16, 8))
        for number, (name, shots, tokens) in enumerate((("short prompts", 0, 16 if quick else 32), *few)):
            pair, length, same = crowded(site, bare, shots, tokens, 1000 * (number + 1))
            what = f"{CROWD} at once, {name}: {length} and {tokens} tokens; {same} of {CROWD} answers the same"
            print(line(what, pair, 8.0 if shots else 5.0), flush=True)
    print(f"\nGreedy, float32; torch {torch.__version__} with {torch.get_num_threads()} threads, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
