"""Every file keeps the rules of the house, and every rule is seen to bite."""

from collections.abc import Callable, Iterator

import pytest

from tests.house import rules
from tests.house.rules import ROOT, RULES, Source

Rule = Callable[[Source], Iterator[str]]

LONG = "x = 1\n" * 301

PROVOKED: list[tuple[Rule, str, str]] = [
    (rules.long_file, "app/services/jobs.py", LONG * 2),
    (rules.long_file, "app/pages/jobs.py", LONG),
    (rules.long_function, "app/services/jobs.py", "def f():\n" + "    x = 1\n" * 51),
    (rules.long_function, "worker/tasks.py", "@app.task\ndef f():\n" + "    x = 1\n" * 26),
    (rules.long_chain, "app/services/jobs.py", "if a == 0:\n    b()\n" + "elif a == 1:\n    b()\n" * 8),
    (rules.broad_except, "app/services/jobs.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (rules.broad_except, "app/services/jobs.py", "try:\n    f()\nexcept (OSError, Exception) as error:\n    print(error)\n"),
    (rules.broad_except, "app/services/jobs.py", "try:\n    f()\nexcept:\n    pass\n"),
    (rules.state_elsewhere, "app/services/jobs.py", 'job.state = "failed"\n'),
    (rules.state_elsewhere, "app/services/jobs.py", 'job.step, job.state = 1, "failed"\n'),
    (rules.state_elsewhere, "app/services/jobs.py", 'setattr(job, "state", "failed")\n'),
    (rules.state_elsewhere, "app/domain/ending.py", 'def end():\n    session.execute(update(Job).values(state="failed"))\n'),
    (rules.state_elsewhere, "app/domain/ending.py", 'def end(query):\n    final = {"state": "failed"}\n    session.execute(query.values(final))\n'),
    (rules.state_elsewhere, "app/domain/ending.py", 'def end(query):\n    session.execute(query.values(**dict(state="failed")))\n'),
    (rules.state_elsewhere, "app/domain/upload.py", 'def end():\n    session.execute(update(Job).values({"state": "failed"}))\n'),
    (rules.commit_elsewhere, "app/services/jobs.py", "session.commit()\n"),
    (rules.dangerous, "app/services/jobs.py", "subprocess.run(text, shell=True)\n"),
    (rules.dangerous, "app/services/jobs.py", "from pickle import loads\n"),
    (rules.dangerous, "app/services/jobs.py", "eval(text)\n"),
    (rules.dangerous, "worker/engine/load.py", "load(name, trust_remote_code=True)\n"),
    (rules.unfinished, "app/services/jobs.py", "# " + rules.UNFINISHED[0] + " later\n"),
    (rules.vague_name, "app/utils.py", "x = 1\n"),
    (rules.undocumented, "app/services/jobs.py", "x = 1\n"),
]

ALLOWED: list[tuple[Rule, str, str]] = [
    (rules.broad_except, "app/main.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (rules.broad_except, "app/db.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
    (rules.state_elsewhere, "app/domain/job.py", 'job.state = "failed"\n'),
    (rules.state_elsewhere, "app/services/jobs.py", 'if job.state == "failed":\n    pass\n'),
    (rules.state_elsewhere, "app/domain/job.py", 'def move():\n    session.execute(update(Job).values(state="failed"))\n'),
    (rules.state_elsewhere, "app/domain/upload.py", 'def end():\n    session.execute(update(Upload).values(state="failed"))\n'),
    (rules.state_elsewhere, "app/api/shapes.py", 'def shape(job):\n    return {"state": job.state, "rows": list(job.settings.values())}\n'),
    (rules.dangerous, "worker/engine/load.py", "load(name, trust_remote_code=False)  # never pickle\nmodel.eval()\n"),
    (rules.long_chain, "app/services/jobs.py", "if a == 0:\n    b()\n" + "elif a == 1:\n    b()\n" * 7),
]


def name(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_our_files_keep(rule: Rule) -> None:
    broken = [f"{source.path}: {sentence}" for source in rules.python_files("app", "worker", "scripts", "bench") for sentence in rule(source)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("rule", [rules.long_file, rules.unfinished, rules.vague_name, rules.dangerous], ids=name)
def test_tests_keep(rule: Rule) -> None:
    broken = [f"{source.path}: {sentence}" for source in rules.python_files("tests") for sentence in rule(source)]
    assert not broken, "\n".join(broken)


def test_templates_are_short() -> None:
    templates = [path for path in sorted((ROOT / "templates").rglob("*")) if path.is_file()]
    long = [f"{path.relative_to(ROOT)}: {lines} lines" for path in templates if (lines := path.read_text().count("\n")) > rules.TEMPLATE_LINES]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(("rule", "path", "text"), PROVOKED, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_bites(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED, ids=lambda value: getattr(value, "__name__", None))
def test_a_rule_lets_the_right_thing_pass(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(path, text)))


def test_every_rule_was_provoked() -> None:
    assert {name(rule) for rule, _, _ in PROVOKED} == {name(rule) for rule in RULES}
