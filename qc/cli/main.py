"""The command ``qc``: its subcommands, exit codes and one-line errors."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType, ModuleType
from typing import NoReturn

from qc.errors import CapabilityError, CheckpointError, InputError, QCError, suggest

#: Every subcommand: its module, with `add_arguments(parser)` and `run(args) -> int`, and a line
#: of help. A new one joins by a line here.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("qc.cli.run", "run the simulation that a case file describes"),
    "bulk": ("qc.cli.bulk", "bulk properties of a potential"),
    "detect": ("qc.cli.detect", "find the atoms of a file that are not a deformed crystal"),
    "info": ("qc.cli.info", "versions, threads, cache folder and potentials at hand"),
}

OK, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE, TERMINATED = 0, 1, 2, 130, 141, 143

EXIT_CODES = """\
exit codes:
  0    done
  1    not converged, a result that is not finite, or output that cannot be written
  2    bad input: arguments, case file, potential or atoms
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)
"""


class UsageError(InputError):
    """The command line itself is wrong."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it unwinds as Ctrl-C does, so that a run saves its state once."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are exceptions, with a suggestion for a misspelt option."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; an unknown option is named before a missing one."""
        known = [o for action in self._actions for o in action.option_strings]
        for word in arguments:
            if word == "--":
                break
            option = word.split("=")[0]
            if option.startswith("--") and option not in known:
                raise UsageError(f"unknown option {option}{suggest(option, known)}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError instead of leaving the program."""
        raise UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, that of the process by default, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _usable_streams()
    prog = "qc"
    try:
        with _sigterm_unwinds():
            if arguments and not arguments[0].startswith("-"):
                name, *rest = arguments
                module = _load(name)
                prog = f"qc {name}"
                return _run(module, prog, COMMANDS[name][1], rest)
            return _top(arguments)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else OK if leave.code is None else FAILED
    except Terminated:
        return _fail(prog, "terminated", TERMINATED)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has left; the interpreter's last flush must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (InputError, CapabilityError, CheckpointError) as error:
        return _fail(prog, error, BAD_INPUT)
    except QCError as error:
        return _fail(prog, error, FAILED)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        return _fail(prog, _file_message(error), BAD_INPUT)
    except OSError as error:
        return _fail(prog, _file_message(error), FAILED)
    except MemoryError:
        return _fail(prog, "out of memory", FAILED)


def _usable_streams() -> None:
    """Make what is printed go somewhere: closed streams nowhere, odd characters as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _top(arguments: Sequence[str]) -> int:
    """Handle a command line that names no subcommand."""
    parser = Parser("qc", "Quasicontinuum: atoms where a crystal's defects need them.")
    width = max(map(len, COMMANDS))
    listing = "".join(f"  {name:<{width}}  {text}\n" for name, (_, text) in COMMANDS.items())
    parser.usage = "qc COMMAND [arguments]"
    parser.epilog = f"commands:\n{listing}\n'qc COMMAND --help' tells more.\n\n{EXIT_CODES}"
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    args = parser.parse(arguments)
    if args.version:
        import qc

        print(f"quasicontinuum {qc.__version__}")
        return OK
    parser.print_help(sys.stderr)
    return BAD_INPUT


def _load(name: str) -> ModuleType:
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command '{name}'{suggest(name, COMMANDS)} (commands: {', '.join(COMMANDS)})"
        )
    return importlib.import_module(COMMANDS[name][0])


def _run(module: ModuleType, prog: str, text: str, arguments: Sequence[str]) -> int:
    parser = Parser(prog, text[0].upper() + text[1:] + ".")
    module.add_arguments(parser)
    code = module.run(parser.parse(arguments))
    sys.stdout.flush()
    return int(code)


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Turn SIGTERM into an exception while the block runs; only the main thread may."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(prog: str, message: object, code: int) -> int:
    line = " ".join(str(message).split())
    print(f"{prog}: error: {line}", file=sys.stderr)
    return code


def _file_message(error: OSError) -> str:
    where = f"'{error.filename}': " if error.filename is not None else ""
    return f"{where}{error.strerror or error}"


if __name__ == "__main__":
    sys.exit(main())
