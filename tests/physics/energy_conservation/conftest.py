"""Where the long runs put their figures."""

import json
import os

import pytest


@pytest.fixture
def figures():
    """Return a function that adds a line of JSON to the file named by QC_FIGURES, if it is set."""

    def add(what, **values):
        path = os.environ.get("QC_FIGURES")
        if path:
            line = {"what": what} | {k: float(f"{v:.6g}") for k, v in values.items()}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return add
