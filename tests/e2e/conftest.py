"""What tests of the command line share."""

from pathlib import Path

import pytest


@pytest.fixture
def work(tmp_path, monkeypatch, request):
    """An empty working folder, with the case of the test's module in it if there is one."""
    monkeypatch.chdir(tmp_path)
    case = getattr(request.module, "CASE", None)
    if case is not None:
        Path("case.toml").write_text(case)
    return tmp_path
