"""The command line's frame: help, errors on one line, exit codes, signals."""

import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from qc.cli import main as frame
from qc.cli.main import COMMANDS, main
from qc.errors import (
    CapabilityError,
    CaseError,
    CheckpointError,
    ConvergenceError,
    InvertedElementError,
    NonFiniteError,
    OutputError,
    PotentialFileError,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(monkeypatch):
    """Register the command ``probe``, whose `run` is the function given."""

    def register(run):
        def add_arguments(parser):
            parser.add_argument("--level", type=int, default=0)

        module = types.SimpleNamespace(add_arguments=add_arguments, run=run)
        monkeypatch.setitem(sys.modules, "probe_module", module)
        monkeypatch.setitem(COMMANDS, "probe", ("probe_module", "a command for this test"))

    return register


def raising(error):
    def run(args):
        raise error

    return run


def one_line(capsys):
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


def test_help_names_every_command_and_exit_code(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"  {name}" in out
        assert text in out
    for code in ("0 ", "1 ", "2 ", "130 ", "143 "):
        assert f"\n  {code}" in out


def test_no_command_is_a_usage_error(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quasicontinuum ")


@pytest.mark.parametrize(
    ("wrong", "right"), [("rn", "run"), ("bukl", "bulk"), ("detct", "detect"), ("inf", "info")]
)
def test_a_misspelt_command_gets_a_suggestion(wrong, right, capsys):
    assert main([wrong]) == 2
    assert f"unknown command '{wrong}'; did you mean '{right}'?" in one_line(capsys)


def test_a_misspelt_option_gets_a_suggestion(command, capsys):
    command(lambda args: 0)
    assert main(["probe", "--levle", "3"]) == 2
    assert one_line(capsys) == ("qc probe: error: unknown option --levle; did you mean '--level'?")


@pytest.mark.parametrize("arguments", [["--level", "x"], ["--level"], ["surplus"], ["--lev", "1"]])
def test_wrong_arguments(command, arguments, capsys):
    command(lambda args: 0)
    assert main(["probe", *arguments]) == 2
    assert one_line(capsys).startswith("qc probe: error: ")


def test_help_of_a_command(command, capsys):
    command(lambda args: 0)
    assert main(["probe", "--help"]) == 0
    assert "usage: qc probe" in capsys.readouterr().out


@pytest.mark.parametrize("code", [0, 1])
def test_the_command_decides_the_code(command, code):
    command(lambda args: args.level)
    assert main(["probe", "--level", str(code)]) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CaseError("unknown key 'cuttof'"), 2),
        (PotentialFileError("Al.set, line 7: truncated"), 2),
        (CapabilityError("qcf has no energy"), 2),
        (CheckpointError("checksum differs"), 2),
        (FileNotFoundError(2, "No such file or directory", "case.toml"), 2),
        (PermissionError(13, "Permission denied", "out"), 2),
        (ConvergenceError("did not converge"), 1),
        (NonFiniteError("force of atom 3"), 1),
        (InvertedElementError("element 12"), 1),
        (OutputError("cannot write"), 1),
        (OSError(28, "No space left on device", "out.npz"), 1),
        (MemoryError(), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_errors_are_one_line_and_have_a_code(command, error, code, capsys):
    command(raising(error))
    assert main(["probe"]) == code
    line = one_line(capsys)
    assert line.startswith("qc probe: error: ")
    if isinstance(error, OSError):
        assert f"'{error.filename}': {error.strerror}" in line


def test_a_message_of_several_lines_is_joined(command, capsys):
    command(raising(CaseError("first\n  second")))
    assert main(["probe"]) == 2
    assert one_line(capsys) == "qc probe: error: first second"


def test_a_bug_keeps_its_traceback(command):
    command(raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        main(["probe"])


def test_sigterm_unwinds_and_the_handler_is_put_back(command, capsys):
    before = signal.getsignal(signal.SIGTERM)
    saved = []

    def run(args):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except KeyboardInterrupt:
            saved.append("state")
            raise

    command(run)
    assert main(["probe"]) == 143
    assert saved == ["state"]
    assert one_line(capsys) == "qc probe: error: terminated"
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_runs_outside_the_main_thread(command):
    command(lambda args: 0)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["probe"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_reader_that_leaves_is_no_error():
    code = (
        "import sys; from qc.cli import main as m; import types;"
        "def_ = types.SimpleNamespace(add_arguments=lambda p: None,"
        " run=lambda a: print('x' * 10**6) or 0);"
        "sys.modules['probe_module'] = def_; m.COMMANDS['probe'] = ('probe_module', 'text');"
        "sys.exit(m.main(['probe']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(10)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == frame.BROKEN_PIPE
    assert errors == b""


def test_every_command_has_a_module_of_the_right_shape():
    for module, text in COMMANDS.values():
        path = ROOT / (module.replace(".", "/") + ".py")
        source = path.read_text()
        assert "def add_arguments(parser" in source
        assert "def run(args" in source
        assert not text.endswith(".")


class TestInfo:
    def test_for_people(self, capsys):
        assert main(["info"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("quasicontinuum ")
        for word in ("numba", "threads", "kernel cache", "bgfc", "Cu Ag Au"):
            assert word in out

    def test_as_json(self, capsys):
        assert main(["info", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["threads"] >= 1
        assert facts["libraries"]["numpy"]
        assert len(facts["zhou2004"]) == 16

    def test_threads_and_cache_folder_are_those_in_force(self, tmp_path):
        environment = os.environ | {"NUMBA_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "qc.cli.main", "info", "--json"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        facts = json.loads(done.stdout)
        assert facts["threads"] == 1
        assert Path(facts["kernel_cache"]).is_relative_to(tmp_path)
        assert done.stderr == ""
