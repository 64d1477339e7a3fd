"""The command line with odd names, closed streams and files that no parser should be given."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qc.cli.main import main
from qc.errors import CaseError
from qc.io.cases.case import load_case, parse_case

CASE = """
[crystal]
structure = "fcc"
element = "Al"
lattice_constant = 4.05
x = [1, 1, 0]
y = [0, 0, 1]
z = [1, -1, 0]
columns = true

[potential]
name = "zhou2004"

[model]
core = 7
blend = 5.8
outer = 18

[output]
pictures = "none"
vtu = false
extxyz = false
"""

ROOT = Path(__file__).resolve().parents[2]


def qc(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("more", {})
    return subprocess.run(
        [sys.executable, "-m", "qc.cli.main", *arguments], env=environment, check=False, **options
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"caf\xe9.toml", "caf\\xe9"), ("\N{GRINNING FACE}.toml".encode(), "\N{GRINNING FACE}"),
     (b"a\nb = 1.toml", "a\\nb = 1")],
    ids=["latin-1", "emoji", "newline"],
)  # fmt: skip
def test_any_name_of_a_case_file_will_do(name, shown, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(name)).write_text(CASE)
    assert main(["run", os.fsdecode(name), "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == shown
    copy = Path("out/case.toml").read_text(encoding="utf-8")
    assert f"From {shown}.toml, SHA-256" in copy
    assert load_case("out/case.toml").crystal.element == "Al"


def test_names_are_printed_as_the_terminal_can(tmp_path):
    name = "\N{GRINNING FACE}.toml"
    (tmp_path / name).write_text(CASE)
    done = qc("run", name, cwd=tmp_path, capture_output=True, more={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\U0001f600")


@pytest.mark.parametrize(("folder", "shown"), [("", "''"), ("a\0b", "'a\\x00b'")])
def test_a_folder_needs_a_name(folder, shown, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("case.toml").write_text(CASE)
    assert main(["run", "case.toml", "--output", folder]) == 2
    assert f"--output: {shown} is no name of a folder" in capsys.readouterr().err
    assert os.listdir() == ["case.toml"]


def test_a_case_needs_a_name(capsys):
    assert main(["run", ""]) == 2
    assert "the name of the case file is empty" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [[1], [2], [1, 2]], ids=["stdout", "stderr", "both"])
@pytest.mark.parametrize(("arguments", "code"), [(["info"], 0), (["run", "none.toml"], 2)])
def test_closed_streams_are_no_fault(closed, arguments, code, tmp_path):
    shell = " ".join(f"{k}>&-" for k in closed)
    command = f'"{sys.executable}" -m qc.cli.main {" ".join(arguments)} {shell}'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_traceback(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "qc.cli.main", "info"], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


ENDLESS = {
    "key": "a." * 200_000 + "a = 1",
    "table": "[" + "a." * 200_000 + "a]",
    "spaces": "a . " * 100_000 + "a = 1",
    "quoted": '"a$".' * 100_000 + "a = 1",
    "apostrophes": "'a='." * 100_000 + "a = 1",
    "inline": "x = {" + "a." * 200_000 + "a = 1}",
    "no end": '"\\"' * 100_000 + "a." * 200,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_keys_of_very_many_parts_are_refused_at_once(name):
    begin = time.monotonic()
    with pytest.raises(CaseError, match=r"line 2: more than 100 dots in a key|no valid TOML"):
        parse_case(("\n" + ENDLESS[name]).encode())
    assert time.monotonic() - begin < 2.0


def test_dots_in_strings_comments_and_numbers_are_no_keys():
    dots = "." * 200
    values = ", ".join(["0.01"] * 300)
    text = CASE.replace("[crystal]", f'title = "{dots}"\n# {dots}\n[crystal]', 1)
    text += f'[load]\nkind = "uniaxial"\ndirection = [1, 0, 0]\nvalues = [{values}]\n'
    assert len(parse_case(text.encode()).load.values) == 300
