"""The errors of storage: each is one sentence for the person who sees it, with the mend in it."""

from __future__ import annotations


class StoreError(Exception):
    """Something about the stored data that a person can act on; `str(error)` is a full sentence."""

    @property
    def sentence(self) -> str:
        return str(self)


class FolderInUse(StoreError):
    """Another process (or another `Store` in this one) owns the data folder. `pid` is None where the system does not
    say.
    """

    def __init__(self, sentence: str, pid: int | None) -> None:
        super().__init__(sentence)
        self.pid = pid


class ForeignFolder(StoreError):
    """The folder is not a Worldline data folder, or its database cannot be read. Nothing in it was changed."""


class CorruptFolder(ForeignFolder):
    """There is a `worldline.duckdb`, but DuckDB cannot read it."""


class WrongValue(StoreError):
    """A value that was given cannot be used. `str(error)` names the field and says how to mend it."""


class NothingRated(StoreError):
    """A snapshot was asked for and there is no judgement to put in it."""


class SnapshotError(StoreError):
    """A snapshot folder is missing, incomplete or was changed after it was frozen."""


class ExportError(StoreError):
    """An export cannot be made as asked; nothing was written."""


class ImportProblem(StoreError):
    """A line of an imported file cannot be used. `str(error)` is `file.jsonl:17: what is wrong; how to mend it`."""


class BackupError(StoreError):
    """A backup cannot be made, read or restored; nothing was left half done."""
