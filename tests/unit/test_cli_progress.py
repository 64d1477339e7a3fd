"""Progress on a terminal and in a pipe."""

import io

import pytest

from qc.numerics.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_sees_nothing():
    pipe = io.StringIO()
    with Progress("relax", pipe) as progress:
        progress.update("step 1")
    assert pipe.getvalue() == ""


def test_a_terminal_sees_one_line_that_goes_away():
    terminal = Terminal()
    with Progress("relax", terminal, interval=0) as progress:
        progress.update("step 10")
        progress.update("step 9")
    drawn = terminal.getvalue()
    assert "relax: step 10" in drawn
    assert "\n" not in drawn
    assert drawn.split("\r")[2] == "relax: step 9 "
    assert drawn.endswith("\r" + " " * len("relax: step 9") + "\r")


def test_it_does_not_draw_too_often():
    terminal = Terminal()
    progress = Progress("relax", terminal, interval=1e9)
    progress.update("first")
    progress.update("second")
    assert "second" not in terminal.getvalue()


def test_the_line_is_wiped_when_something_raises():
    terminal = Terminal()

    def fail():
        with Progress("x", terminal, interval=0) as progress:
            progress.update("y")
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert terminal.getvalue().endswith(" \r")


def test_a_long_text_stays_on_one_row():
    terminal = Terminal()
    Progress("x", terminal, interval=0).update("y" * 500)
    assert max(map(len, terminal.getvalue().split("\r"))) < 80
