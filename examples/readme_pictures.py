"""The pictures of README.md: a Lomer dipole under shear, and a vacancy, drawn with `qc.plot`.

    python examples/readme_pictures.py [--small] [--output DIR]

Without --output they go to docs/pictures.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from ase.build import bulk
from matplotlib.figure import Figure
from PIL import Image

import qc
from qc.io.cases.case import load_case
from qc.solve.path import follow

HERE = Path(__file__).resolve().parent


def sheared_dipole(small: bool) -> qc.QuasiContinuum:
    """Return the dipole of examples/lomer_dipole.toml at its last load step."""
    setup = qc.io.set_up(load_case(HERE / "lomer_dipole.toml"))
    if small:
        return setup.model
    return follow(setup.model, setup.deformations, fmax=1e-3).model


def relaxed_vacancy(small: bool) -> qc.QuasiContinuum:
    """Return the model of the first example of README.md."""
    atoms = bulk("Cu", a=3.615, cubic=True) * (5, 5, 5)
    del atoms[0]
    potential = qc.potentials.zhou2004("Cu")
    model = qc.QuasiContinuum.from_atoms(atoms, potential, outer=20 if small else 70)
    qc.relax(model)
    return model


def save(path: Path, figure: Figure, title: str) -> Path:
    """Write a figure as a PNG file of 256 colours, a sixth as long as one of all."""
    figure.suptitle(title, fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100)
    picture = Image.open(stream).convert("RGB")
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"wrote {path}")
    return path


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw both pictures and return where they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small or unrelaxed, in seconds")
    parser.add_argument("--output", type=Path, metavar="DIR", default=HERE.parent / "docs/pictures")
    args = parser.parse_args(argv)

    tall = Figure(figsize=(8.6, 7.4), layout="constrained")
    above, below = tall.subplots(2, 1, height_ratios=[3, 4])
    dipole = sheared_dipole(args.small)
    qc.plot(dipole, "regions", ax=above, view="whole")
    qc.plot(dipole, "nonaffinity", ax=below)
    broad = Figure(figsize=(9.6, 4.7), layout="constrained")
    left, right = broad.subplots(1, 2)
    vacancy = relaxed_vacancy(args.small)
    qc.plot(vacancy, "regions", ax=left)
    qc.plot(vacancy, "nonaffinity", ax=right)
    return [
        save(args.output / "lomer_dipole.png", tall, "Lomer dipole in Al under 3 % shear"),
        save(args.output / "vacancy.png", broad, "Vacancy in Cu"),
    ]


if __name__ == "__main__":
    main()
