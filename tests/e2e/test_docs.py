"""What README.md and docs/ show must run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qc
from qc.io import pictures

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_readme_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = blocks(ROOT / "README.md", "python")
    exec(first, {})
    shown = capsys.readouterr().out
    assert "1 vacant site" in shown
    # Against LAMMPS on the full lattice, tests/reference/vacancy_3d_Cu.json.
    energy = float(re.search(r"formation energy ([0-9.]+) eV", shown)[1])
    assert energy == pytest.approx(1.2753, abs=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["vacancy.extxyz", "vacancy.vtu"]
    exec(second, {})
    assert float(capsys.readouterr().out) < 0.0


def test_readme_has_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "python -m pip install . && qc run examples/lomer_dipole.toml" in lines
    assert "python -m pip install '.[test]' && python -m pytest" in lines


def test_barrier_through_ase(capsys):
    (code,) = blocks(ROOT / "docs" / "schemes.md", "python")
    exec(code, {})
    # Of all atoms in the same ball 0.553 eV; the band stops at 0.01 eV/Angstrom.
    shown = re.search(r"barrier ([0-9.]+) eV", capsys.readouterr().out)
    assert float(shown[1]) == pytest.approx(0.553, abs=5e-3)


def test_potential_of_your_own(capsys):
    found = blocks(ROOT / "docs" / "potentials.md", "python")
    (code,) = [b for b in found if "class Buckingham" in b]
    assert code.count("\n") <= 40
    made: dict = {}
    exec(code, made)
    shown = capsys.readouterr().out
    assert shown.startswith("Buckingham(Ar): passed")
    argon = made["argon"]
    assert qc.verify.check_potential(argon).passed
    # It has the depth and the distance of argon, and the fused kernel without being asked.
    r = np.linspace(3.0, 5.0, 2001)
    value = argon.pair(r, np.array(0), np.array(0)).value
    assert value.min() == pytest.approx(-0.0122, abs=1e-3)
    assert r[value.argmin()] == pytest.approx(3.8, abs=0.1)
    assert argon._pieces is not None
    alloy = made["Buckingham"](
        ["Ar", "Kr"], [[1.1e4, 1.2e4], [1.2e4, 1.3e4]], 0.28, [[66, 80], [80, 100]], 9.0
    )
    assert qc.verify.check_potential(alloy).passed


SECTIONS = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").split("\n## ")[1:]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_parts_of_your_own(section):
    """Each section's code runs by itself, is as short as it says, and touches no engine file."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    lines = [line for line in code.splitlines() if line.strip()]
    assert 10 <= len(lines) <= 60
    # As in a file of its own, whose annotations are not those of this one.
    exec(compile(code, "part", "exec", dont_inherit=True), {"__name__": "part"})


def test_pool_of_processes(tmp_path):
    (code,) = blocks(ROOT / "docs" / "parallel.md", "python")
    script = tmp_path / "pool.py"
    script.write_text(code, encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=True,
    ).stdout  # fmt: skip
    energies = [float(line.split()[-4]) for line in shown.splitlines()]
    assert len(energies) == 3
    # The cohesive energy of the published parameters.
    assert min(energies) == energies[1] == pytest.approx(-3.54, abs=0.005)


def calculator_of_the_docs(capsys, n):
    made: dict = {}
    for code in blocks(ROOT / "docs" / "calculators.md", "python")[:n]:
        exec(code, made)
    return made, capsys.readouterr().out


def test_calculator_of_the_docs(capsys):
    made, shown = calculator_of_the_docs(capsys, 1)
    # EMT's own lattice constant, by ASE: the least of its energy over a grid of a.
    assert shown.startswith("a = 3.5898 Angstrom")
    assert made["model"].scheme.name == "bqcf"


@pytest.mark.long
def test_model_of_the_calculator_of_the_docs(capsys):
    made, _ = calculator_of_the_docs(capsys, 2)
    # Relaxed by ASE in a periodic cell of 863 atoms.
    assert made["result"].defect_energy == pytest.approx(1.2236, abs=2e-3)


def test_pictures_of_the_docs():
    import matplotlib.pyplot as plt

    (code,) = blocks(ROOT / "docs" / "plots.md", "python")
    made: dict = {}
    exec(code, made)
    assert [made[side].get_title().split(",")[0] for side in ("left", "right")] == [
        "Regions",
        "Non-affinity",
    ]
    plt.close(made["figure"])
    table = set(re.findall(r'`"(\w+)"`', (ROOT / "docs" / "plots.md").read_text(encoding="utf-8")))
    scalars = {n for n in pictures.SCALARS if n[-3:] not in ("_yy", "_zz", "_yz", "_xz")}
    assert table == {"regions", "nonaffinity", "mesh", *scalars}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        other = page.parent / path if path else page
        assert other.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in heads}
            assert anchor in slugs, f"{page.name} links to {target}"


def test_named_files_exist():
    for page in PAGES:
        for name in re.findall(
            r"`((?:qc|potentials|tests|examples)/[\w/.]+\.\w+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", ["dynamics", "heat"])
def test_pages_on_dynamics(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, *more = blocks(ROOT / "docs" / f"{page}.md", "python")
    made: dict = {}
    exec(first, made)
    dynamics = made["dynamics"]
    assert dynamics.step == 100
    assert abs(dynamics.ledger.closure) < 1e-9
    assert 50.0 < dynamics.temperature() < 700.0
    assert "closure" in capsys.readouterr().out
    for code in more:
        exec(code, made)
    if page == "dynamics":
        assert made["outcome"].reason == "all 1000 steps done"
        assert (tmp_path / "run" / "history.csv").exists()


def test_page_on_lammps(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for code in blocks(ROOT / "docs" / "lammps.md", "python"):
        exec(code, made)
    assert capsys.readouterr().out.splitlines() == [
        "AlNi862 given for the types 0",
        "True 1 vacant site, 1 foreign atom; 12 non-affine atoms",
        "2242 named in the file",
    ]
    assert (made["again"].symbols == made["ball"].symbols).all()
    np.testing.assert_allclose(made["again"].positions, made["ball"].positions, atol=1e-12)


@pytest.mark.long
def test_page_on_temperature():
    made: dict = {}
    for code in blocks(ROOT / "docs" / "temperature.md", "python")[:2]:
        exec(code, made)
        assert made["hot"].deformation[0, 0] > 1.0
        assert np.isfinite(made["model"].energy())


def test_every_page_is_in_the_readme_and_on_the_site():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    site = (ROOT / ".ci" / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in readme, f"README.md does not lead to {page.name}"
        assert f"- {page.name}\n" in site, f"{page.name} is not on the site"
