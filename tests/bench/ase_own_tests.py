"""ASE's own tests with its EMT, and with EMT as a `CentralPotential` behind `PotentialCalculator`.

Run with ``python tests/bench/ase_own_tests.py FOLDER``; prints counts and every test whose outcome
differs. The selection is every test file of the installed ASE that names EMT, and those of folders
whose fixtures do. Outcomes are kept in FOLDER, part by part, and a second call goes on where the
first was stopped; ``--again PATTERN`` runs the parts that match once more. What stands for EMT is
in ``tests/bench/ase_emt``; before anything is run, both are compared on random alloys. It stands
for the EMT of asap3 too, which is seldom installed: tests of dynamics that ask for it are skipped
with ASE's EMT, as they would take an hour, and run with ours.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as Xml
from collections import Counter
from pathlib import Path

import ase.test
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT, parameters

STAND_IN = Path(__file__).parent / "ase_emt"
ASAP = Path(__file__).parent / "ase_asap"
SUITE = Path(ase.test.__file__).parent
METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
KINDS = ("emt", "ours")

#: Seconds for one part of the suite.
PATIENCE = 1500


def selection() -> dict[str, list[Path]]:
    """Return the test files, by folder of ASE's suite."""
    named = re.compile("emt|asap3", re.IGNORECASE)
    parts: dict[str, list[Path]] = {}
    for file in sorted(SUITE.rglob("test_*.py")):
        fixtures = [p / "conftest.py" for p in file.parents if p != SUITE and SUITE in p.parents]
        if any(p.exists() and named.search(p.read_text()) for p in (file, *fixtures)):
            folder = file.relative_to(SUITE).parts
            parts.setdefault(folder[0] if len(folder) > 1 else "top", []).append(file)
    return parts


def difference() -> float:
    """Return the largest difference of energies, forces and stresses on random alloys."""
    sys.path.insert(0, str(STAND_IN))
    from emt_functions import EMT as Ours

    worst, rng = 0.0, np.random.default_rng(0)
    for k in range(12):
        atoms = bulk("Cu", "fcc", 3.9, cubic=True) * (2, 2, 1 + k % 2)
        atoms.symbols[:] = rng.choice(METALS if k % 3 else list(parameters), len(atoms))
        atoms.rattle(0.15, seed=k)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.pbc = (True, True, k % 4 != 1)
        twin = atoms.copy()
        atoms.calc, twin.calc = EMT(), Ours()
        for get in ("get_potential_energies", "get_forces", "get_stress"):
            one, other = getattr(atoms, get)(), getattr(twin, get)()
            worst = max(worst, float(np.abs(one - other).max()))
    return worst


def run(kind: str, part: str, files: list[Path], folder: Path, processes: int) -> None:
    """Run the files of a part and leave their outcomes in the folder."""
    report = folder / f"{kind}-{part}.xml"
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    # ASE's tests call its command line by name: it has to be that of this interpreter.
    program = programs / "ase"
    program.write_text(f"#!{sys.executable}\nfrom ase.cli.main import main\nmain()\n")
    program.chmod(0o755)
    paths = [str(programs), os.environ["PATH"]]
    places = [str(STAND_IN), str(ASAP)] * (kind == "ours") + [os.environ.get("PYTHONPATH", "")]
    environment = dict(
        os.environ,
        PATH=os.pathsep.join(paths),
        PYTHONPATH=os.pathsep.join(filter(None, places)),
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull]
    command += ["--rootdir", str(SUITE.parents[1]), "-p", "no:cacheprovider"]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning"]
    command += ["-n", str(processes), "--junitxml", str(report), *map(str, files)]
    with (folder / f"{kind}-{part}.log").open("w") as log:
        subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )


def outcomes(kind: str, parts: list[str], folder: Path) -> dict[str, tuple[str, str]]:
    """Return outcome and message of every test that was run."""
    found = {}
    for part in parts:
        for case in Xml.parse(folder / f"{kind}-{part}.xml").iter("testcase"):
            outcome, message = "passed", ""
            for child in case:
                if child.tag in ("failure", "error", "skipped"):
                    outcome = {"failure": "failed"}.get(child.tag, child.tag)
                    message = (child.get("message") or "").split("\n")[0]
            found[f"{case.get('classname')}::{case.get('name')}"] = outcome, message
    return found


def main() -> None:
    """Run what has not been run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--again", metavar="PATTERN", help="run these parts of ours once more")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    parts = selection()
    print(f"ASE {ase.__version__}: {sum(map(len, parts.values()))} files")
    print(f"largest difference on random alloys: {difference():.1e} eV, eV/A, eV/A^3", flush=True)
    for part, files in parts.items():
        for kind in KINDS:
            again = kind == "ours" and options.again and re.search(options.again, part)
            if again or not (folder / f"{kind}-{part}.xml").exists():
                run(kind, part, files, folder, options.processes)
                last = (folder / f"{kind}-{part}.log").read_text().splitlines()[-1]
                print(f"{kind} {part}: {last}", flush=True)
    plain, ours = (outcomes(kind, list(parts), folder) for kind in KINDS)
    for kind, found in zip(KINDS, (plain, ours), strict=True):
        print(kind, dict(Counter(outcome for outcome, _ in found.values())))
    gained = sum(
        outcome == "passed" and plain.get(test, ("skipped", ""))[0] == "skipped"
        for test, (outcome, _) in ours.items()
    )
    print(f"skipped with ASE's EMT, passed with ours: {gained}")
    for test in sorted(plain.keys() | ours.keys()):
        before, after = plain.get(test, ("not run", "")), ours.get(test, ("not run", ""))
        if before[0] != after[0] and (before[0], after[0]) != ("skipped", "passed"):
            print(f"{test}: {before[0]} -> {after[0]}: {after[1] or before[1]}")


if __name__ == "__main__":
    main()
