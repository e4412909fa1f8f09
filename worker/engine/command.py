"""The engine on a command line: `python -m worker.engine.train` tunes from JSON lines, without database, broker or settings.

Progress goes to stderr, one line each; the result is one JSON object on stdout. Exit codes: 0 done, 1 it cannot be done (the
reason and what to do on stderr), 2 wrong options, 3 stopped on request (Ctrl-C or SIGTERM) with a checkpoint to go on from.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from app.domain import search as searches
from app.domain.methods import METHODS
from app.domain.methods.base import parse
from app.domain.rendering import DEFAULT, Template, without_opening
from app.domain.rendering import check as check_template
from app.domain.search import Search
from app.errors import FettleError, Invalid
from worker.engine.place import launched
from worker.engine.reporting import Stopped
from worker.engine.waits import watch

if TYPE_CHECKING:
    from worker.engine.spec import Row, TrainSpec
    from worker.engine.train import TrainResult

STOPPED = 3

SHOWN = 60
"""The most characters shown of each text of a sample."""


class Console:
    """The Reporter of a command line: one line of stderr for each thing told."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._tenth = -1

    def phase(self, name: str, total: int | None = None) -> None:
        self._tenth = -1
        self._say(name if total is None else f"{name}: {total}")

    def step(self, done: int, total: int, values: dict[str, float], eta_seconds: float | None) -> None:
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
        self._say(f"step {done}/{total}: {numbers}" + ("" if eta_seconds is None else f", {eta_seconds:.0f} s left"))

    def progress(self, done: int, total: int, eta_seconds: float | None) -> None:
        if (tenth := 10 * done // max(1, total)) != self._tenth:
            self._tenth = tenth
            self._say(f"{done} of {total}")

    def sample(self, step: int, row: int, input: str, gold: str, text: str, trial: int = 0) -> None:  # noqa: A002
        said, asked, wanted = (shorten(part, SHOWN, placeholder=" …") for part in (text, input, gold))
        of = f"trial {trial}, " if trial else ""
        self._say(f"{of}sample after step {step}, row {row}: {asked} -> {said or '(nothing)'} (gold: {wanted})")

    def log(self, text: str) -> None:
        self._say(text)

    def measured(self, peak_bytes: int) -> None:
        """The log says it, with the time that a step takes."""

    def should_stop(self) -> bool:
        return self.asked.is_set()

    def settle(self) -> None:
        pass  # what is said is said

    def checkpoint(self, folder: Path, step: int, manifest_sha256: str) -> None:
        self._say(f"checkpoint of step {step}: {folder}")

    def pace(self, step_seconds: float, save_seconds: float) -> None:
        pass  # a run from a command line leaves after its step, however long that takes

    def trial(self, number: int, parameters: Mapping[str, Any], state: str, step: int, value: float | None, reason: str | None = None) -> None:
        told = ", ".join(f"{name} {chosen}" for name, chosen in parameters.items())
        best = "" if value is None else f", {value:.4g}"
        self._say(f"trial {number} {state}: {told}; step {step}{best}" + (f" ({reason})" if reason else ""))

    def stop_on_signals(self) -> None:
        """Ctrl-C or SIGTERM ends the run after its step, with a checkpoint; a second one ends it at once."""

        def asked(number: int, frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            self.asked.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, asked)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune as the options say. Returns the exit code."""
    options = _options().parse_args(arguments)
    console = Console()
    try:
        spec = _spec(options)
        chosen = _search(options, spec)
        from worker.engine.search import search
        from worker.engine.train import take_part

        watch()
        console.stop_on_signals()
        if (place := launched()) and place.rank:
            take_part(spec, place)
            return 0
        result = search(spec, chosen, console)
    except FettleError as error:
        print(f"{error.message} {error.advice}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"stopped; {'--resume goes on from ' + str(stopped.checkpoint) if stopped.checkpoint else 'nothing was trained yet'}", file=sys.stderr)
        return STOPPED
    print(json.dumps(_as_json(result)))
    return 0


def records(file: Path) -> list["Row"]:
    """Labelled examples of a JSON lines file: an object a line, whose `output` is the answer and whose other texts are the prompt's variables.

    Raises Invalid with file and line.
    """
    try:
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise Invalid("unreadable", f"{file} cannot be read: {error.strerror}.", "Name a JSON lines file.") from error
    return [_record(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _record(line: bytes, place: str) -> "Row":
    try:
        values = json.loads(line)
    except ValueError as error:
        raise Invalid("bad_record", f"{place}: {error}.", "Each line is one JSON object in UTF-8.") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()) or "output" not in values:
        raise Invalid("bad_record", f"{place} is not an object of texts with an `output`.", 'A line looks like {"input": "…", "output": "…"}.')
    return {name: value for name, value in values.items() if name != "output"}, values["output"].strip()


def _spec(options: argparse.Namespace) -> "TrainSpec":
    from worker.engine.checkpoint import found
    from worker.engine.spec import TrainSpec
    from worker.engine.train import ARTEFACT

    used = (options.out / ARTEFACT).exists() or found(options.out) or any(options.out.glob("trial-*"))
    if used and not options.resume:
        raise Invalid("folder_in_use", f"{options.out} holds an earlier run.", "Add --resume to go on with it, or name another folder.")
    train, validation = records(options.train), records(options.validation) if options.validation else []
    template = Template(instruction=options.instruction, input_prefix=options.input_prefix, output_prefix=options.output_prefix)
    if options.prompt:
        template = Template("freeform", text=options.prompt)
    for values, _ in train + validation:
        check_template(template, values)
    parameters, encoder_decoder = parse(METHODS, options.method, dict(options.set)), _is_encoder_decoder(options.base)
    parameters.check_model(encoder_decoder)
    # As in a job: a soft prompt that starts from the prompt's text takes its place.
    bare = without_opening(template) if parameters.replaces_text(encoder_decoder) else template
    return TrainSpec(
        base=options.base,
        template=bare,
        opening=None if bare == template else template,
        train=train,
        validation=validation,
        labels=tuple(sorted({answer for _, answer in train})) if options.labels else (),
        method=options.method,
        parameters=parameters,
        seed=options.seed,
        folder=options.out,
        resume=options.resume,
        threads=options.threads,
        device=options.device,
    )


def _is_encoder_decoder(base: Path) -> bool:
    from worker.engine.load import load_config

    return bool(load_config(base).is_encoder_decoder)


def _search(options: argparse.Namespace, spec: "TrainSpec") -> Search:
    """The options --search, each a name=value or a JSON file of several; later ones win. Raises Invalid."""
    values: dict[str, Any] = {}
    for given in options.search:
        values |= dict([given]) if isinstance(given, tuple) else _search_file(given)
    chosen = searches.parse(values, spec.seed)
    if chosen.how != "none" and launched():
        raise Invalid("launched_search", "A search starts the processes of its trials itself.", "Run it without a launcher, with --set devices=N.")
    searches.check(chosen, spec.method, spec.parameters, len(spec.validation))
    searches.share_prompt(chosen, spec.parameters, spec.opening or spec.template, _is_encoder_decoder(spec.base))
    return chosen


def _search_file(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise Invalid("unreadable", f"{file} cannot be read as a search: {error}.", 'Give name=value, or a JSON file like {"how": "random"}.') from error
    if not isinstance(values, dict):
        raise Invalid("unreadable", f"{file} is no JSON object.", 'A search file looks like {"how": "random", "trials": 8}.')
    return values


def _as_json(result: "TrainResult") -> dict[str, Any]:
    return {**asdict(result), "artefact": str(result.artefact)}


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _setting_or_file(text: str) -> tuple[str, Any] | Path:
    return _setting(text) if "=" in text else Path(text)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker.engine.train",
        description="Tune a model on labelled examples from JSON lines files, without database or broker.",
        epilog=f"Parameters of --set, by method:\n{_parameters()}\n\nExit codes: 0 done, 1 cannot be done, 2 wrong options, 3 stopped with a checkpoint.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Callable[..., Any] = parser.add_argument
    add("--base", type=Path, required=True, metavar="FOLDER", help="the model: config.json, tokenizer and *.safetensors")
    add("--train", type=Path, required=True, metavar="FILE", help='JSON lines {"input": …, "output": …}; other fields are further variables')
    add("--validation", type=Path, metavar="FILE", help="the same; it chooses the best moment of the run")
    add("--labels", action="store_true", help="the outputs are labels to choose from: validate by accuracy over those of --train, not by loss alone")
    add("--out", type=Path, required=True, metavar="FOLDER", help="checkpoints, and at the end FOLDER/artefact")
    add("--resume", action="store_true", help="go on from the newest checkpoint in --out that is intact")
    add("--method", choices=list(METHODS), default="lora", help="default: lora")
    add("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method; may be given several times")
    add(
        "--search",
        type=_setting_or_file,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="or a JSON file: how, trials, factor, space, seed of a search",
    )
    add(
        "--instruction",
        default=DEFAULT.instruction,
        metavar="TEXT",
        help="put before every input; a soft prompt that starts from it takes its place (but for keep_text)",
    )
    add("--input-prefix", default=DEFAULT.input_prefix, metavar="TEXT", help=f"default: {DEFAULT.input_prefix}")
    add("--output-prefix", default=DEFAULT.output_prefix, metavar="TEXT", help=f"default: {DEFAULT.output_prefix}")
    add("--prompt", metavar="TEXT", help="a freeform prompt with {variables} in place of the three options above")
    add("--seed", type=int, default=0, help="default: 0")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: auto")
    add("--threads", type=int, metavar="N", help="processor threads; the same number gives the same bits")
    return parser


def _parameters() -> str:
    return "\n".join(f"  {name}: {', '.join(method.model_fields)}" for name, method in METHODS.items())
