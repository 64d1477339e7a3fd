"""Reading case files: bytes of TOML to a validated case."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import tomllib
from pathlib import Path

from qc.errors import CaseError
from qc.io.cases import schema
from qc.io.cases.base import Case
from qc.io.cases.kinds import KINDS
from qc.io.files import shown_name
from qc.numerics.checks import kind
from qc.numerics.reading import read_regular

#: A longer file is no case file, Bytes.
LONGEST = 1 << 20

#: Dots in one key that the parser is given.
MOST_DOTS = 100

#: Strings, the last one perhaps without its end; and what no key with dots has in it.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|$|\\)|\'[^\']*+(?:\'|$)')
_NO_KEY = re.compile(rb"[^A-Za-z0-9_. \t-]")

_read = schema.of_kind(KINDS, "statics")


def load_case(path: str | os.PathLike[str]) -> Case:
    """Read and validate a case file.

    Raises
    ------
    CaseError
        The file is no TOML, has an unknown key, lacks one, or has a value of the wrong type, unit
        or range; the message gives the file and the key's path.
    FileNotFoundError
        There is no such file.
    """
    kind("path", path, (str, os.PathLike))
    if not os.fspath(path):
        raise CaseError("the name of the case file is empty")
    source = Path(path)
    try:
        raw = read_regular(source, LONGEST, CaseError)
    except CaseError:
        raise
    except ValueError as error:
        raise CaseError(f"{str(path)!r} is no usable file name: {error}") from error
    return parse_case(raw, source)


def parse_case(raw: bytes, source: Path = Path("case.toml")) -> Case:
    """Read a case from the bytes of its file; as `load_case`."""
    name = shown_name(source.name)
    if len(raw) > LONGEST:
        raise CaseError(f"{name}: longer than {LONGEST} bytes, which is no case file")
    try:
        _refuse_endless_keys(raw)
        values = tomllib.loads(raw.decode("utf-8"))
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from error
    except UnicodeDecodeError as error:
        raise CaseError(f"{name}: not UTF-8 text, at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise CaseError(f"{name}: no valid TOML: {error}") from error
    # Python's own limits: brackets nested too deeply, integers of too many digits, odd dates.
    except (RecursionError, ValueError) as error:
        raise CaseError(f"{name}: no valid TOML: {error}") from error
    try:
        case: Case = _read(values, "")
        case.check()
    except CaseError as error:
        raise CaseError(f"{name}: {error}") from error
    return dataclasses.replace(case, source=source, digest=hashlib.sha256(raw).hexdigest())


def _refuse_endless_keys(raw: bytes) -> None:
    """Refuse keys of very many parts, on which the parser's time grows as their square."""
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.count(b".") <= MOST_DOTS or line.lstrip().startswith(b"#"):
            continue
        words = _NO_KEY.split(_STRING.sub(b"s", line))
        if max(word.count(b".") for word in words) > MOST_DOTS:
            raise CaseError(f"line {number}: more than {MOST_DOTS} dots in a key")
