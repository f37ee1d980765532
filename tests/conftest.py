"""How the suite is shared out to the workers of pytest-xdist: a file stays together, and so do the folders with a server.

A browser's workbench and a real vLLM are started once for their folder; two workers would start two. (xdist's own groups do
nothing under pytest 9.)
"""

from __future__ import annotations

from typing import Any

import pytest

TOGETHER = ("browser", "serving")


@pytest.hookimpl(optionalhook=True)  # the suite runs without xdist, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.split("/")[1]
            return folder if folder in TOGETHER else file

    return ByFolder(config, log)
