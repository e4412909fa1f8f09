"""No table is left out: neither of what a session knows nor of what a migration compares."""

import ast

from app.domain import tables
from tests.house.rules import Source, python_files


def declares_tables(source: Source) -> bool:
    return any(isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Base" for base in node.bases) for node in source.tree.body)


def test_every_file_with_tables_is_imported() -> None:
    declaring = {source.path for source in python_files("app/domain") if declares_tables(source)}
    assert declaring == {f"app/domain/{name}.py" for name in tables.__all__ if name != "Base"}


def test_the_search_finds_a_table() -> None:
    assert declares_tables(Source("app/domain/x.py", "class Thing(Row, Base):\n    pass\n"))
    assert not declares_tables(Source("app/domain/x.py", "class Thing(Base2):\n    pass\n"))
