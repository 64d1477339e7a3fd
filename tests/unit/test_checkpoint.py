"""Checkpoints: what was saved comes back, and nothing else does."""

import errno
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.coupling import PointDefects, QuasiContinuum
from qc.crystal import fcc
from qc.dynamics import Dynamics
from qc.errors import CheckpointError, OutputError
from qc.farfield import simple_shear
from qc.io.runs import saved as module
from qc.io.runs.archive import checksum, pack, unpack
from qc.io.runs.checkpoint import (
    check_path,
    parse_checkpoint,
    read_checkpoint,
    restore,
    write_checkpoint,
)
from qc.io.runs.dynamics_checkpoint import read_dynamics, write_dynamics
from qc.io.runs.identity import fingerprints
from qc.potentials import zhou2004

PATH = np.array([simple_shear(g) for g in (0.0, 0.01, 0.02)])


@pytest.fixture(scope="module")
def potential():
    return zhou2004("Al", knots_per_length=300, knots_per_density=300)


@pytest.fixture(scope="module")
def columns():
    return fcc("Al", 4.05, x=[1, 1, 0], y=[0, 0, 1], z=[1, -1, 0]).as_columns()


def build(columns, potential, **changes):
    options = (
        dict(core=7.5, blend=6.0, outer=24.0, defects=PointDefects(vacant=[(0, 0, 0)])) | changes
    )
    return QuasiContinuum(columns, potential, **options)


@pytest.fixture(scope="module")
def model(columns, potential):
    out = build(columns, potential)
    rng = np.random.default_rng(7)
    out.U[out.layout.free] = 0.05 * rng.normal(size=int(out.layout.free.sum()))
    return out


@pytest.fixture(scope="module")
def raw(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "state.npz"
    return write_checkpoint(path, model, PATH[:2], records=[{"energy": -0.1}]).read_bytes()


def members(raw):
    """Name and content of every member of an archive."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def archive(parts, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def resealed(raw, facts=None, **header):
    """The checkpoint with changed facts or header entries and a checksum that fits."""
    parts = {k.removesuffix(".npy"): v for k, v in members(raw).items()}
    arrays = {k: np.load(io.BytesIO(v)) for k, v in parts.items()}
    entries = json.loads(arrays["header"].tobytes()) | header
    entries["facts"] = entries["facts"] | (facts or {})
    arrays["header"] = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
    arrays["checksum"] = checksum(arrays)
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_a_state_comes_back_bit_for_bit(model, columns, potential, raw):
    found = parse_checkpoint(raw)
    np.testing.assert_array_equal(found.displacements, model.U)
    np.testing.assert_array_equal(found.path, PATH[:2])
    assert found.records == [{"energy": -0.1}]
    assert found.next_step == 2
    assert not found.relaxing
    assert found.fingerprints == fingerprints(model)
    other = build(columns, potential)
    restore(found, other)
    np.testing.assert_array_equal(other.U, model.U)
    np.testing.assert_array_equal(other.forces(), model.forces())


def test_a_state_made_on_another_processor_is_taken_and_said(
    model, columns, potential, raw, monkeypatch, caplog
):
    other = build(columns, potential)
    restore(parse_checkpoint(raw), other)
    assert not caplog.records
    monkeypatch.setattr(module, "processor", lambda: "another one")
    restore(parse_checkpoint(raw), other)
    assert "made on another processor" in caplog.text
    assert "round-off" in caplog.text
    np.testing.assert_array_equal(other.U, model.U)
    # A path computed there may differ in its last bits.
    check_path(parse_checkpoint(raw), PATH * (1.0 + 2.0**-52))


def test_an_unfinished_step_is_done_again(model, tmp_path):
    path = write_checkpoint(tmp_path / "state.npz", model, PATH[:2], relaxing=True)
    assert read_checkpoint(path).next_step == 1


def test_numpy_reads_it_without_pickle(raw):
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        names = {"header", "displacements", "shifts", "path", "checksum"}
        assert set(file.files) == names


def test_every_truncation_is_refused(raw):
    for length in [0, 1, 3, 4, 30, 100, len(raw) // 3, len(raw) // 2, len(raw) - 60, len(raw) - 1]:
        with pytest.raises(CheckpointError, match="state"):
            parse_checkpoint(raw[:length], "state")


def test_a_flipped_bit_is_refused_or_changes_nothing(raw):
    """Bits that mean nothing (a time stamp in the archive) may change; numbers may not."""
    found = parse_checkpoint(raw)
    rng = np.random.default_rng(3)
    refused = 0
    for at in rng.choice(len(raw), size=400, replace=False):
        bad = bytearray(raw)
        bad[at] ^= 1 << int(rng.integers(8))
        try:
            again = parse_checkpoint(bytes(bad))
        except CheckpointError:
            refused += 1
        else:
            np.testing.assert_array_equal(again.displacements, found.displacements)
            assert again.fingerprints == found.fingerprints
    assert refused > 350


def test_a_changed_number_with_a_sound_archive_fails_the_checksum(raw):
    parts = members(raw)
    content = bytearray(parts["displacements.npy"])
    content[-3] ^= 1
    parts["displacements.npy"] = bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        parse_checkpoint(archive(parts))
    # Negative control: the same surgery without a change passes.
    parse_checkpoint(archive(members(raw)))


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickled_object_is_refused_and_not_run(raw, tmp_path):
    target = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(target))).close()
    assert target.exists(), "the bomb works"
    target.unlink()
    parts = members(raw)
    for name in parts:
        evil = dict(parts)
        evil[name] = npy(np.array([Bomb(target)], dtype=object))
        with pytest.raises(CheckpointError, match="objects are refused"):
            parse_checkpoint(archive(evil))
        evil[name] = pickle.dumps(Bomb(target))
        with pytest.raises(CheckpointError, match="no npy array"):
            parse_checkpoint(archive(evil))
    with pytest.raises(CheckpointError):
        parse_checkpoint(pickle.dumps(Bomb(target)))
    assert not target.exists()


def test_absurd_sizes_are_refused_before_anything_is_allocated(raw):
    parts = members(raw)
    head = np.lib.format.magic(1, 0)
    for shape in ("(999999999999, 3)", "(99999999999999999, 999999999999)", "(4, 3)"):
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        parts["displacements.npy"] = head + len(text).to_bytes(2, "little") + text + b"\0" * 16
        with pytest.raises(CheckpointError, match="declares the shape"):
            parse_checkpoint(archive(parts))
    zeros = archive(members(raw) | {"displacements.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(zeros) < 1_000_000
    with pytest.raises(CheckpointError, match="impossible size"):
        parse_checkpoint(zeros)


def test_other_members_or_missing_ones_are_refused(raw):
    parts = members(raw)
    with pytest.raises(CheckpointError, match="more is no npy array"):
        parse_checkpoint(archive(parts | {"more.npy": b""}))
    with pytest.raises(CheckpointError, match="other members than it names"):
        parse_checkpoint(resealed(raw, arrays=["displacements", "path"]))
    del parts["checksum.npy"]
    with pytest.raises(CheckpointError, match="other members"):
        parse_checkpoint(archive(parts))
    stream = io.BytesIO()
    np.savez(stream, positions=np.zeros(3))
    with pytest.raises(CheckpointError, match="other members"):
        parse_checkpoint(stream.getvalue())


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprints": 3},
        {"facts": {"records": [1]}},
        {"schema": "one"},
        {"schema": float("inf")},
        {"facts": {"relaxing": None, "records": None}, "version": None},
    ],
)
def test_a_header_that_makes_no_sense_is_refused(changes, raw):
    with pytest.raises(CheckpointError, match="not understood"):
        parse_checkpoint(resealed(raw, **changes))


def test_another_schema_is_refused_unless_forced(raw):
    newer = resealed(raw, schema=99, version="9.9")
    with pytest.raises(CheckpointError, match=r"version 9\.9 with schema 99"):
        parse_checkpoint(newer)
    assert parse_checkpoint(newer, force=True).schema == 99
    # Negative control: the resealing itself is sound.
    assert parse_checkpoint(resealed(raw)).schema == module.SCHEMA


def test_one_of_the_schema_before_is_refused_by_its_version(raw):
    """Its members had other names, and its facts lay beside the schema."""
    header, arrays = unpack(raw)
    header |= {"what": "qc checkpoint", "schema": 3, "version": "0.0"} | header.pop("facts")
    del header["arrays"]
    old = pack(header, {"deformations": arrays.pop("path"), **arrays})
    with pytest.raises(CheckpointError, match=r"version 0\.0 with schema 3; this version reads"):
        parse_checkpoint(old)
    with pytest.raises(CheckpointError, match="not understood"):
        parse_checkpoint(old, force=True)


def test_a_checkpoint_of_dynamics_is_none_of_a_load_path(model, tmp_path, raw):
    path = write_dynamics(tmp_path / "moving.npz", Dynamics(model, 0.1, check_timestep=False))
    with pytest.raises(CheckpointError, match="is one of dynamics, not of a load path"):
        read_checkpoint(path)
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="is one of a load path, not of dynamics"):
        read_dynamics(path)


def test_not_a_number_is_refused(model, tmp_path, columns, potential):
    other = build(columns, potential)
    other.U[5] = np.nan
    path = write_checkpoint(tmp_path / "state.npz", other)
    with pytest.raises(CheckpointError, match="NaN"):
        read_checkpoint(path)


def test_a_missing_file_and_a_folder_are_checkpoint_errors(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.npz: No such file"):
        read_checkpoint(tmp_path / "none.npz")
    with pytest.raises(CheckpointError, match="directory"):
        read_checkpoint(tmp_path)


def test_another_potential_is_refused_unless_forced(columns, raw):
    other = build(columns, zhou2004("Al", knots_per_length=310, knots_per_density=300))
    with pytest.raises(CheckpointError, match="another potential;"):
        restore(parse_checkpoint(raw), other)
    assert not other.U.any()
    restore(parse_checkpoint(raw), other, force=True)
    assert other.U.any()


def test_another_scheme_or_blend_is_refused(columns, potential, raw):
    with pytest.raises(CheckpointError, match="another scheme;"):
        restore(parse_checkpoint(raw), build(columns, potential, scheme="bqce"))
    with pytest.raises(CheckpointError, match="scheme"):
        restore(parse_checkpoint(raw), build(columns, potential, core=7.501, blend=5.999))


def test_another_mesh_is_refused_even_by_force(columns, potential, raw):
    larger = build(columns, potential, outer=30.0)
    for force in (False, True):
        with pytest.raises(CheckpointError, match=r"another mesh"):
            restore(parse_checkpoint(raw), larger, force=force)
    moved = build(columns, potential, defects=PointDefects(vacant=[(1, 0, 0)]),
                  centres=[[0.0, 0.0, 0.0]])  # fmt: skip
    with pytest.raises(CheckpointError, match="another mesh;"):
        restore(parse_checkpoint(raw), moved)


def test_the_load_is_no_part_of_the_fingerprint(model, columns, potential):
    assert fingerprints(model.with_strain(PATH[2])) == fingerprints(model)


def test_a_path_must_begin_with_the_steps_done(raw):
    found = parse_checkpoint(raw)
    check_path(found, PATH)
    check_path(found, PATH[:2])
    with pytest.raises(CheckpointError, match="2 load steps behind it, the path only 1"):
        check_path(found, PATH[:1])
    with pytest.raises(CheckpointError, match="load step 1 differs"):
        check_path(found, PATH[[0, 2]])
    check_path(found, PATH[[0, 2]], force=True)


def test_a_full_disk_leaves_the_previous_checkpoint(model, raw, tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    path.write_bytes(raw)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_checkpoint(path, model, PATH)
    assert len(read_checkpoint(path).path) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data):
    with pytest.raises(CheckpointError):
        parse_checkpoint(data)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_refused_or_harmless(raw, data):
    bad = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(bad) - 1))
        stop = min(len(bad), start + data.draw(st.integers(0, 40)))
        bad[start:stop] = data.draw(st.binary(max_size=40))
    try:
        found = parse_checkpoint(bytes(bad))
    except CheckpointError:
        return
    np.testing.assert_array_equal(found.displacements, parse_checkpoint(raw).displacements)


@settings(max_examples=200)
@given(name=st.sampled_from(["header", "displacements", "path", "checksum"]),
       content=st.binary(max_size=200), keep=st.integers(0, 140))  # fmt: skip
def test_any_member_in_a_sound_archive_is_refused(raw, name, content, keep):
    parts = members(raw)
    changed = parts[f"{name}.npy"][:keep] + content
    if changed == parts[f"{name}.npy"]:
        return
    parts[f"{name}.npy"] = changed
    with pytest.raises(CheckpointError):
        parse_checkpoint(archive(parts))


@settings(max_examples=50)
@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
))  # fmt: skip
def test_any_header_with_a_sound_checksum_is_refused_or_understood(raw, value):
    changes = [{name: value} for name in ("fingerprints", "schema", "version", "what")]
    changes += [{"facts": {name: value}} for name in ("records", "relaxing")]
    for change in changes:
        try:
            parse_checkpoint(resealed(raw, **change))
        except CheckpointError:
            continue
