"""The reader of each format."""

from collections.abc import Callable, Iterator, Mapping

from app.readers import Detected, Note, Problem, Row, csv, json_lines, json_list, label_lines, parquet, xlsx
from app.readers.content import Content

Item = Row | Problem | Note

READERS: Mapping[str, Callable[[Content, Detected], Iterator[Item]]] = {
    "csv": csv.read,
    "label_lines": label_lines.read,
    "json_lines": json_lines.read,
    "json": json_list.read,
    "parquet": parquet.read,
    "xlsx": xlsx.read,
}
