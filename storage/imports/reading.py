"""Rows of a file with their place: JSONL line by line, JSON value by value, Parquet batch by batch.

A broken row is an ImportProblem that names file, line and mend, and the reading goes on. Knows nothing of what a row
means. Memory: one line, one batch, or the text of one JSON file.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from storage.errors import ImportProblem

MAX_LINE_BYTES = 64 * 1024 * 1024  # a line is one trace; beyond this it is not one, and must not fill the memory
MAX_JSON_BYTES = 512 * 1024 * 1024  # a .json file is read whole; larger ones belong into lines
PARQUET_ROWS = 64  # rows in memory at a time: traces of a megabyte each stay bearable
ENDINGS = (".jsonl", ".ndjson", ".json", ".parquet", ".pq", ".txt")
_SPACE = re.compile(r"[ \t\r\n,]*")
_DECODER = json.JSONDecoder()


class Found(NamedTuple):
    """A row (any JSON value) and its place, `file.jsonl:17`, or what is wrong there."""

    where: str
    row: Any = None
    problem: ImportProblem | None = None


def known_ending(name: str) -> str:
    """How a file's name ends, which says how it is read. Raises ValueError with the list of those that there are."""
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f'the name of the file is "{name[:60]}"; it must end in one of {", ".join(ENDINGS)}')
    return ending


def rows(path: Path, name: str | None = None) -> Iterator[Found]:
    """The rows of a file; `name` is what errors call it. Raises ImportProblem where the file cannot be read at all."""
    path = Path(path)
    name = name or path.name
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            yield from _parquet(path, name)
            return
        with path.open("rb") as file:
            if path.suffix.lower() == ".json" and not _is_lines(file):
                yield from _values(file, name)
            else:
                yield from _lines(file, name)
    except FileNotFoundError:
        raise ImportProblem(f"{path}: there is no such file; check the path.") from None
    except OSError as error:
        raise ImportProblem(
            f"{path}: the file cannot be read: {error.strerror or error}; check the path and its permissions."
        ) from None


# ---- lines


def _lines(file: IO[bytes], name: str) -> Iterator[Found]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        where = f"{name}:{number}"
        try:
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
                raise ImportProblem(
                    f"{where}: the line is longer than {MAX_LINE_BYTES >> 20} MB; write one trace a line."
                )
            text = _decoded(line, where, first=number == 1)
            if text.strip():
                yield Found(where, _parsed(text, where))
        except ImportProblem as problem:
            yield Found(where, problem=problem)


def _decoded(line: bytes, where: str, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise ImportProblem(
            f"{where}: byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8."
        ) from None


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = (
            " (the file looks like one JSON array: write one object a line, or name the file .json)"
            if text.lstrip().startswith("[")
            else ""
        )
        raise ImportProblem(
            f"{where}: the line is not JSON at character {error.pos + 1}: {error.msg}{hint}; mend or remove it."
        ) from None
    except (RecursionError, ValueError):
        raise ImportProblem(
            f"{where}: the line holds JSON that is nested too deeply or has a number too long; mend or remove it."
        ) from None


# ---- one JSON file


def _is_lines(file: IO[bytes]) -> bool:
    """Whether a .json file has a whole object in its first line and more below: JSON lines under another name."""
    start = file.readline(MAX_LINE_BYTES)
    more = bool(file.readline(MAX_LINE_BYTES).strip())
    file.seek(0)
    if not more or not start.decode("utf-8-sig", "replace").lstrip().startswith("{"):
        return False
    try:
        json.loads(start)
    except (ValueError, RecursionError):
        return False
    return True


def _values(file: IO[bytes], name: str) -> Iterator[Found]:
    """One object, or a list of rows, read one after the other so that each has its line."""
    content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ImportProblem(f"{name}: the file is larger than {MAX_JSON_BYTES >> 20} MB; write it as JSON lines.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        yield Found(name, problem=ImportProblem(f"{name}:{line}: this is not UTF-8; save the file as UTF-8."))
        return
    del content
    at = _after_space(text, 0)
    listed = text.startswith("[", at)
    at = _after_space(text, at + 1) if listed else at
    line, counted, n = 1, 0, 1  # rows are counted from 1, like lines and the rows of Parquet
    while at < len(text) and not (listed and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        where = f"{name}:{line}" + (f" (row {n})" if listed else "")
        try:
            value, at = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            broken = line + text.count("\n", counted, error.pos)
            after = "; what comes after it cannot be read" if listed else ""
            yield Found(where, problem=ImportProblem(
                f"{name}:{broken}: this is not JSON: {error.msg}{after}; mend it, or write one object a line."
            ))  # fmt: skip
            return
        except (RecursionError, ValueError):
            yield Found(where, problem=ImportProblem(
                f"{where}: JSON that is nested too deeply or has a number too long; mend or remove it."
            ))  # fmt: skip
            return
        yield Found(where, value)
        n += 1
        at = _after_space(text, at)
    if listed and at >= len(text):
        yield Found(name, problem=ImportProblem(
            f'{name}: the list does not end with "]", so rows may be missing; check that the file is whole.'
        ))  # fmt: skip


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing too
    return found.end()


# ---- Parquet


def _parquet(path: Path, name: str) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                for i in range(batch.num_rows):
                    n += 1
                    where = f"{name}: row {n}"
                    try:
                        yield Found(where, _plain(batch.slice(i, 1).to_pylist()[0]))
                    except UnicodeDecodeError:
                        yield Found(where, problem=ImportProblem(f"{where}: a text is not UTF-8; save it as UTF-8."))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise
        first = str(error).split("\n", 1)[0]
        problem = ImportProblem(f"{name}: this is not Parquet that can be read after row {n}: {first}; write it again.")
        yield Found(name, problem=problem)


def _plain(value: Any) -> Any:
    """A value of Parquet as JSON has it; columns that are null in every field of a struct stay null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
