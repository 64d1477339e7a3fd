"""Atomic writing: a reader meets the old file or the new one, never half of one."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from qc.errors import OutputError
from qc.io.files import path_inside, write_atomically


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


def test_bytes_and_text_are_written_and_folders_made(tmp_path):
    path = write_atomically(tmp_path / "a" / "b.txt", "Ångström")
    assert path.read_bytes() == "Ångström".encode()
    assert write_atomically(path, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert leftovers(path.parent) == []


def test_the_mode_is_that_of_an_ordinary_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    written = write_atomically(tmp_path / "written", "")
    assert written.stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_file(step, tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "state", "before")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError, match=r"state cannot be written: No space left"):
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert leftovers(tmp_path) == []


def test_a_limit_on_file_size_is_met_in_the_middle_of_a_write(tmp_path):
    """The operating system itself cuts the write off, as a full disk does."""
    code = textwrap.dedent("""
        import resource, signal, sys
        from qc.errors import OutputError
        from qc.io.files import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_atomically(sys.argv[1], b"x" * 100_000)
        except OutputError as error:
            print(error)
        else:
            raise SystemExit("written past the limit")
    """)
    path = write_atomically(tmp_path / "state", "before")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written: File too large" in done.stdout
    assert path.read_text() == "before"
    assert leftovers(tmp_path) == []


def test_a_kill_in_the_middle_of_a_write_leaves_the_previous_file(tmp_path):
    code = textwrap.dedent("""
        import os, signal, sys
        from qc.io import files
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        files.write_atomically(sys.argv[1], "after")
    """)
    path = write_atomically(tmp_path / "state", "before")
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "before"


def test_paths_inside_are_taken_and_others_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    assert path_inside(root, "runs/one", "output") == (root / "runs" / "one").resolve()
    assert path_inside(root, "a/../b", "output") == (root / "b").resolve()
    for bad in ("../other", "/etc/passwd", "a/../../other", "link/other", "~/../../x/../../.."):
        with pytest.raises(OutputError, match=r"output: .* leads out of"):
            path_inside(root, bad, "output")
    with pytest.raises(OutputError, match="no usable path"):
        path_inside(root, "a\x00b", "output")
