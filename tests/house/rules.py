"""The rules of the house, each a function from a file's source to the sentences about what breaks it.

They read the syntax tree, so that a comment or a text that only mentions a forbidden word breaks nothing.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

FILE_LINES = 400
PAGE_LINES = 300
TEMPLATE_LINES = 120
FUNCTION_LINES = 50
TASK_LINES = 25
CHAIN = 8

DOORS = {"app/main.py", "app/rounds.py", "worker/tasks.py", "worker/run_job.py", "worker/engine/serve.py"}
"""Where a process meets whatever may go wrong, and must go on: only there `except Exception` is right."""

ONE_PLACE = {"commit": "app/db.py"}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "cloudpickle", "joblib"}
FORBIDDEN_KEYWORDS = {"shell", "trust_remote_code"}
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" + "XX")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file: where it stands from the root, its text and its tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def python_files(*rooms: str) -> list[Source]:
    """Every Python file of the rooms, in order."""
    paths = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]


def long_file(source: Source) -> Iterator[str]:
    limit = PAGE_LINES if source.path.startswith("app/pages/") else FILE_LINES
    lines = source.text.count("\n")
    if lines > limit:
        yield f"{lines} lines, the limit is {limit}: give a part of it a name and a file"


def long_function(source: Source) -> Iterator[str]:
    for function in source.functions():
        limit = TASK_LINES if any("task" in ast.unparse(decorator) for decorator in function.decorator_list) else FUNCTION_LINES
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > limit:
            yield f"{function.name} has {lines} lines, the limit is {limit}"


def long_chain(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If) and (links := _links(node)) > CHAIN:
            yield f"line {node.lineno}: {links} branches of if/elif, the limit is {CHAIN}: use a dict"


def _links(node: ast.If) -> int:
    """The branches of an if with its elifs, without the else."""
    following = node.orelse[0] if len(node.orelse) == 1 else None
    return 1 + (_links(following) if isinstance(following, ast.If) else 0)


def broad_except(source: Source) -> Iterator[str]:
    if source.path in DOORS:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _raises_again(node):
            yield f"line {node.lineno}: catches every exception outside a process door: name what can happen"


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(name is None or ast.unparse(name) in ("Exception", "BaseException") for name in names)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def state_elsewhere(source: Source) -> Iterator[str]:
    """The state of a row changes in the file that declares its table, beside the states there are and the moves between them.

    For jobs that is job.py alone, and there `move` alone: ending.py, which has the ends and what follows them, asks it. Whoever wrote a state past it
    could make a job that is over run again, or leave a page that replays events without the news. bench/ makes rows as hours of work leave them.
    """
    owners = states()
    if source.path.startswith("bench/"):
        return
    own = source.path in owners.values()
    if not own:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store | ast.Del):
                yield f"line {node.lineno}: sets a state; only the file that declares the table does that"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and "'state'" in map(ast.unparse, node.args):
                yield f"line {node.lineno}: sets a state; only the file that declares the table does that"
    for function in source.functions():
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        named = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) in ("update", "insert") and call.args}
        others = sorted(name for name in named if owners.get(name, source.path) != source.path)
        if _writes_state(function, calls) and (others or not own):
            yield f"{function.name} writes the state of {', '.join(others) or 'a row'}; only the file that declares the table does that"


def _writes_state(function: Function, calls: list[ast.Call]) -> bool:
    """Whether values with a state go into a statement: `.values(state=…)`, or a dict with one on its way there."""
    given = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "values" and (call.args or call.keywords)]
    keys = {key.value for node in ast.walk(function) if isinstance(node, ast.Dict) for key in node.keys if isinstance(key, ast.Constant)}
    return bool(given) and ("state" in keys or any(word.arg == "state" for call in (*given, *_dicts(calls)) for word in call.keywords))


def _dicts(calls: list[ast.Call]) -> list[ast.Call]:
    return [call for call in calls if ast.unparse(call.func) == "dict"]


@cache
def states() -> Mapping[str, str]:
    """The tables whose rows have a state, each with the file that declares it."""
    found = {}
    for source in python_files("app/domain"):
        for node in (node for node in source.tree.body if isinstance(node, ast.ClassDef)):
            columns = [ast.unparse(line.target) for line in node.body if isinstance(line, ast.AnnAssign)]
            if "state" in columns and "Base" in map(ast.unparse, node.bases):
                found[node.name] = source.path
    return found


def commit_elsewhere(source: Source) -> Iterator[str]:
    if source.path == ONE_PLACE["commit"]:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit":
            yield f"line {node.lineno}: commits; only {ONE_PLACE['commit']} does that: use transaction()"


def dangerous(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                yield f"line {node.lineno}: calls {node.func.id}"
            for keyword in node.keywords:
                if keyword.arg in FORBIDDEN_KEYWORDS and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                    yield f"line {node.lineno}: passes {keyword.arg}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)


def unfinished(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if any(word in line for word in UNFINISHED):
            yield f"line {number}: says that something is left to do: do it, or write it down as an issue"


def vague_name(source: Source) -> Iterator[str]:
    if VAGUE_NAMES & {part.removesuffix(".py") for part in PurePosixPath(source.path).parts}:
        yield "the name says nothing: call the file after what it knows"


def undocumented(source: Source) -> Iterator[str]:
    """A file without a first sentence."""
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield "has no docstring: one sentence that says what the file knows"


RULES = [long_file, long_function, long_chain, broad_except, state_elsewhere, commit_elsewhere, dangerous, unfinished, vague_name, undocumented]
