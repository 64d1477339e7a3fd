"""What the structure promises: one direction, no cycles, contracts instead of questions."""

import ast
import itertools
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import grimp
import pytest

from qc.coupling.spec import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "qc").rglob("*.py")) + sorted((ROOT / "potentials").rglob("*.py"))

#: Foreign objects, whose members nobody declares to us, and the objects of Python's own.
FOREIGN = {
    "qc/__init__.py", "qc/io/__init__.py", "potentials/__init__.py",  # names found when asked for
    "qc/numerics/threads.py", "qc/numerics/jit.py",  # os.register_at_fork is not everywhere
    "qc/numerics/writing.py", "qc/numerics/progress.py", "potentials/parse.py",  # errors, streams
    "potentials/ase/checks.py", "potentials/ase/potential.py",  # any calculator
    "qc/solve/system.py",
}  # fmt: skip


def test_no_import_goes_round_not_even_for_an_annotation():
    graph = grimp.build_graph("qc", exclude_type_checking_imports=False)
    above = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for other in sorted(above[module]):
            visit(other, [*path, module])
        done.add(module)

    for module in sorted(above):
        visit(module, [])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_members_of_our_own_contracts_are_not_asked_for(path):
    name = path.relative_to(ROOT).as_posix().replace("qc/potentials/", "potentials/")
    if name in FOREIGN:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "hasattr":
                pytest.fail(f"{name}:{node.lineno} asks hasattr")
            if node.func.id == "getattr":
                word = node.args[1]
                assert not isinstance(word, ast.Constant), f"{name}:{node.lineno} asks getattr"


def test_names_of_schemes_are_words_for_people():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
                where = f"{path}:{node.lineno}"
                owner = node.left.value
                held = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                assert not (node.left.attr == "name" and held == "scheme"), where
                assert node.left.attr != "mode" or path.name == "crystal.py", where


def test_case_files_take_their_options_from_the_one_list():
    from qc.io.cases.tables import ModelCase

    shapes = {"rectangle", "block"}
    assert set(ModelCase.__dataclass_fields__) - shapes <= set(OPTIONS)


def test_the_picture_of_the_rooms_is_that_of_the_contract():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    layers = tool["importlinter"]["contracts"][0]["layers"]
    drawn = {}
    picture = ElementTree.parse(ROOT / "docs/pictures/rooms.svg")
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        if "y" in text.attrib:
            for word in str(text.text).split(" · "):
                drawn[word] = float(text.attrib["y"])
    rooms = [
        [drawn[room] for room in re.findall(r"(?<!\()qc\.(\w+)", layer) if room != "version"]
        for layer in layers
    ]
    for upper, lower in itertools.pairwise(rooms):
        assert max(upper) <= min(lower)
