"""The wheel, built from a copy of the tree and imported far away from it."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SDIST = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"


def clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def run(*command: str, cwd: Path, **extra: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=clean_environment() | extra
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(source: Path, out: Path) -> Path:
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", str(out), str(source), cwd=out,
    )  # fmt: skip
    (wheel,) = out.glob("quasicontinuum-*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the wheel is made from: no stale build folder can reach it."""
    copy = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("qc", "potentials"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel unpacked into a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
        "--target", str(target), str(wheel), cwd=target,
    )  # fmt: skip
    return target


def payload(wheel: Path) -> list[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return sorted(n for n in names if ".dist-info/" not in n)


def test_the_wheel_holds_every_source_file_once(wheel):
    names = payload(wheel)
    assert not [n for n, count in Counter(names).items() if count > 1]
    assert {n.split("/")[0] for n in names} == {"qc"}
    expected = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "qc").rglob("*.py")
        if p.relative_to(ROOT).parts[1] != "potentials"
    }
    families = (ROOT / "potentials").rglob("*.py")
    expected |= {f"qc/{p.relative_to(ROOT).as_posix()}" for p in families}
    assert {n for n in names if n.endswith(".py")} == expected


def test_the_wheel_holds_the_data(wheel):
    names = set(payload(wheel))
    assert "qc/py.typed" in names
    data = {f"qc/potentials/data/{p.name}" for p in (ROOT / "potentials" / "data").glob("*.*")}
    assert data
    assert data <= names


def test_the_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    run(sys.executable, "-c", BUILD_SDIST.format(str(tmp_path)), cwd=source)
    (sdist,) = tmp_path.glob("quasicontinuum-*.tar.gz")
    assert payload(build_wheel(sdist, tmp_path)) == payload(wheel)


def test_the_installed_package_is_imported_from_where_it_lies(installed, tmp_path):
    code = "import qc, qc.potentials as p; print(qc.__file__, p.__name__, p.__file__)"
    where, name, file = run(
        sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)
    ).split()
    assert Path(where).is_relative_to(installed)
    assert Path(file).is_relative_to(installed)
    assert name == "qc.potentials"


def test_the_installed_command_runs(installed, tmp_path):
    code = "import sys; from qc.cli.main import main; sys.exit(main(['info']))"
    out = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert "quasicontinuum 0.1.0" in out


def test_ase_finds_both_calculators_by_the_entry_point(installed, tmp_path):
    code = (
        "from ase._4.plugins import plugins\n"
        "for p in plugins.by_package['quasicontinuum']:\n"
        "    print(p.name, p.version, p().__name__, 'energy' in p().implemented_properties)\n"
    )
    out = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert sorted(out.splitlines()) == [
        "qc_model 0.1.0 QCCalculator True",
        "qc_potential 0.1.0 PotentialCalculator True",
    ]
    out = run(sys.executable, "-m", "ase", "info", "--plugins", cwd=tmp_path,
              PYTHONPATH=str(installed))  # fmt: skip
    assert "quasicontinuum 0.1.0" in out
    assert "qc_potential" in out


def test_the_potentials_folder_refuses_another_name(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import potentials"],
        cwd=ROOT, capture_output=True, text=True, env=clean_environment(),
    )  # fmt: skip
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert "qc.potentials" in done.stderr
