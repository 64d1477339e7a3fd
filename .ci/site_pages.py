"""Pages of the site that docs/ does not hold: README, changes, examples and the API reference."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

#: Where a link from README.md, or from docs/ to what is above it, leads on the site.
PLACES = (
    (re.compile(r"\]\((?:\.\./)?docs/"), "]("),
    (re.compile(r"\]\((?:\.\./)?CHANGELOG\.md"), "](changelog.md"),
    (re.compile(r"\]\((?:\.\./)?README\.md"), "](index.md"),
    (re.compile(r"\]\((?:\.\./)?examples\)"), "](examples/index.md)"),
    (re.compile(r"\]\((?:\.\./)?examples/"), "](examples/"),
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and the examples as they are."""

    def add(uri: str, content: str) -> None:
        files.append(File.generated(config, uri, content=content))

    add("index.md", _moved((ROOT / "README.md").read_text(encoding="utf-8")))
    add("changelog.md", _moved((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    listed = []
    for path in sorted((ROOT / "examples").glob("*.*")):
        add(f"examples/{path.name}", path.read_text(encoding="utf-8"))
        listed.append(f"- [{path.name}]({path.name}): {_first_line(path)}")
    add("examples/index.md", "# Examples\n\n" + "\n".join(listed) + "\n")
    for page in config.nav[-1]["API"]:
        name = Path(page).stem
        add(page, _reference("qc" if name == "qc" else f"qc.{name}"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links out of docs/ lead to where the site has what they name."""
    return _moved(markdown)


def _moved(text: str) -> str:
    for pattern, place in PLACES:
        text = pattern.sub(place, text)
    return text


def _first_line(path: Path) -> str:
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return path.read_text(encoding="utf-8").split("\n")[0].lstrip("# ")


def _reference(module: str) -> str:
    return f"# {module}\n\n::: {module}\n"
