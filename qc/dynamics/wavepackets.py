"""Wave packets of a crystal's phonons, and how much of one an interface sends back.

In the harmonic lattice every wave vector moves on its own, so what a packet does in a perfect
crystal without end is known exactly at any time (`FreeMotion`). What a model's atoms do besides has
been sent back by what surrounds them: `reflection` measures its energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qc.coupling import QuasiContinuum
from qc.crystal import Crystal
from qc.dynamics.dynamics import Dynamics
from qc.dynamics.langevin import Langevin
from qc.errors import InputError
from qc.materials.force_constants import force_constants
from qc.materials.phonons import dynamical_matrix, masses_of
from qc.numerics.checks import kind, numbers, positive
from qc.potentials import Potential

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Relative step of the wave vector for group velocities.
STEP = 1e-4

#: Displacements beyond this many standard deviations are no part of a packet: 4e-6 of the middle's.
TAIL = 5.0


class WavePacket:
    """A Gaussian packet of one phonon branch of a Bravais lattice.

    ``u(X) = A e Re exp(i q . (X - X0)) exp(-s^2 / 2 w^2 - t^2 / 2 l^2)`` with s along q, t across,
    and the velocities with which it moves on at the group velocity, in its direction.

    Parameters
    ----------
    crystal : Crystal
    potential : Potential
    q : (3,) float, 1/Angstrom
        Wave vector, 2 pi included; in the plane of a crystal of columns or a monolayer.
    branch : int or (3,) float
        0, 1 or 2 by rising frequency, or a direction: the branch that moves most nearly along it.
    centre : (3,) float, Angstrom
        X0.
    width : float, Angstrom
        Standard deviation w along q; wave vectors then spread by ``1 / (sqrt(2) w)`` in energy.
    lateral : float, Angstrom, optional
        The same across q, l; without limit by default.
    amplitude : float, Angstrom
        A; small, so that motion is harmonic.

    Attributes
    ----------
    frequency : float, 1/time
        Angular frequency at q.
    group_velocity : (3,) float64, Angstrom/time
    polarisation : (3,) float64
        e, of length one.

    Raises
    ------
    InputError
        A wave vector of no length or out of the plane, a branch that does not exist, a width that
        is not positive, a crystal with a basis, or a branch of no real frequency.
    """

    def __init__(
        self,
        crystal: Crystal,
        potential: Potential,
        q: ArrayLike,
        branch: int | ArrayLike,
        *,
        centre: ArrayLike = (0.0, 0.0, 0.0),
        width: float,
        lateral: float | None = None,
        amplitude: float = 1e-3,
    ) -> None:
        kind("crystal", crystal, Crystal)
        kind("potential", potential, Potential)
        wave = numbers("q", q)
        if wave.shape != (3,) or not np.isfinite(wave).all() or not wave.any():
            raise InputError(f"q must be three finite numbers, not all zero, got {q!r}")
        if not crystal.is_bravais:
            raise InputError("wave packets are made for Bravais lattices")
        if crystal.dim == 2 and abs(wave[2]) > 1e-9 * np.linalg.norm(wave):
            raise InputError("q must lie in the plane of the crystal")
        along = None
        if np.ndim(branch):
            along = np.asarray(branch, dtype=np.float64)
        if not (branch in (0, 1, 2) if along is None else along.shape == (3,) and along.any()):
            raise InputError(f"branch must be 0, 1, 2 or a direction of motion, got {branch!r}")
        for name, value in (("width", width), ("lateral", lateral), ("amplitude", amplitude)):
            if value is not None:
                positive(name, value)
        self.crystal, self.potential = crystal, potential
        self.q = wave
        self.centre = np.asarray(centre, dtype=np.float64)
        self.width, self.lateral, self.amplitude = width, lateral, amplitude
        if along is None:
            along = np.asarray(self._modes(wave)[1])[:, int(np.asarray(branch))]
        self.frequency, self.polarisation = self._mode(wave, along)
        length = float(np.linalg.norm(wave))
        self.group_velocity: Array = np.zeros(3)
        for c in range(crystal.dim):
            change = np.zeros(3)
            change[c] = STEP * length
            ends = [self._mode(wave + s * change, self.polarisation)[0] for s in (1.0, -1.0)]
            self.group_velocity[c] = (ends[0] - ends[1]) / (2.0 * STEP * length)

    @property
    def wavelength(self) -> float:
        """Wavelength, Angstrom."""
        return float(2.0 * np.pi / np.linalg.norm(self.q))

    def _modes(self, q: Array) -> tuple[Array, Array]:
        matrix = dynamical_matrix(self.crystal, self.potential, q)
        squares, modes = np.linalg.eigh(0.5 * (matrix + matrix.conj().T).real)
        return squares, modes

    def _mode(self, q: Array, like: Array) -> tuple[float, Array]:
        """Angular frequency and polarisation of the branch that moves most like a vector."""
        squares, modes = self._modes(q)
        which = int(np.argmax(np.abs(like @ modes)))
        if squares[which] <= 0.0:
            raise InputError(f"the branch that moves along {like} has no real frequency at q = {q}")
        return float(np.sqrt(squares[which])), np.asarray(modes[:, which])

    def at(self, x: Array) -> tuple[Array, Array]:
        """Displacements and velocities at reference positions (n, 3), Angstrom and time."""
        ahead = self.q / np.linalg.norm(self.q)
        r = np.asarray(x, dtype=np.float64) - self.centre
        along = r @ ahead
        across = r - along[:, None] * ahead
        across[:, self.crystal.dim :] = 0.0
        lateral = np.inf if self.lateral is None else self.lateral
        t2 = (across**2).sum(axis=1)
        form = np.exp(-0.5 * ((along / self.width) ** 2 + t2 / lateral**2))
        # d(log form)/dX: the envelope moves with the group velocity.
        slope = -(along / self.width**2)[:, None] * ahead - across / lateral**2
        carrier = self.amplitude * form * np.exp(1j * (r @ self.q))
        rate = carrier * (-1j * self.frequency - slope @ self.group_velocity)
        return carrier.real[:, None] * self.polarisation, rate.real[:, None] * self.polarisation


class FreeMotion:
    """What a packet does in the perfect harmonic lattice, exact at any time.

    Parameters
    ----------
    packet : WavePacket
        With a lateral width.
    reach : float, Angstrom
        The packet travels at most so far before it would meet its periodic image.
    timestep : float, ASE time, optional
        Of velocity Verlet: then the motion of its discrete steps, which is exact too. With a
        frequency omega of the lattice ``sin(omega' h / 2) = omega h / 2``.

    Raises
    ------
    InputError
        A time step beyond the bound, a packet without a lateral width, or more than 2e6 cells.

    Source: E. Hairer, C. Lubich & G. Wanner, Acta Numerica 12 (2003) 399 (Verlet steps of an
    oscillator).
    """

    def __init__(self, packet: WavePacket, reach: float, timestep: float | None = None) -> None:
        crystal = packet.crystal
        d = crystal.dim
        if packet.lateral is None:
            raise InputError("free motion needs a packet of finite lateral width")
        radius = reach + TAIL * max(packet.width, packet.lateral)
        # As many cells as fit a ball of that radius into the box between lattice planes.
        planes = np.linalg.norm(np.linalg.inv(crystal.cell[:d, :d]), axis=0)
        self.shape = tuple(int(2 * np.ceil(radius * p)) for p in planes)
        if np.prod([float(n) for n in self.shape]) > 2e6:
            raise InputError(f"a box of {self.shape} cells is asked for; choose a smaller reach")
        middle = np.round(packet.centre[:d] @ np.linalg.inv(crystal.cell[:d, :d])).astype(int)
        axes = [
            np.rint(np.fft.fftfreq(n) * n).astype(np.int64) + c
            for n, c in zip(self.shape, middle, strict=True)
        ]
        m = np.zeros((*self.shape, 3), dtype=np.int64)
        m[..., :d] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        self._middle = middle
        u, v = packet.at(crystal.positions(m.reshape(-1, 3)))
        grid = np.stack(np.meshgrid(*[np.fft.fftfreq(n) for n in self.shape], indexing="ij"), -1)
        k = np.zeros((grid.size // d, 3))
        k[:, :d] = grid.reshape(-1, d)
        found = force_constants(crystal, packet.potential).fourier(k)[0]
        squares, modes = np.linalg.eigh(found.real / masses_of(crystal)[0])
        self._modes = modes
        omega = np.sqrt(np.maximum(squares, 0.0))
        shadow = np.ones_like(omega)
        self._rate = omega
        if timestep is not None:
            half = 0.5 * timestep * omega
            if half.max() >= 1.0:
                raise InputError("the time step is beyond the stability bound of the lattice")
            self._rate = 2.0 * np.arcsin(half) / timestep
            shadow = np.sqrt(1.0 - half**2)
        self._omega = omega * shadow
        self._u, self._v = self._to_modes(u), self._to_modes(v)

    def _to_modes(self, values: Array) -> NDArray[np.complex128]:
        d = len(self.shape)
        waves = np.fft.fftn(values.reshape(*self.shape, 3), axes=range(d)).reshape(-1, 3)
        return np.asarray(np.einsum("kib,ki->kb", self._modes, waves))

    def _to_sites(self, values: NDArray[np.complex128], m: IntArray) -> Array:
        d = len(self.shape)
        waves = np.einsum("kib,kb->ki", self._modes, values).reshape(*self.shape, 3)
        sites = np.fft.ifftn(waves, axes=range(d)).real
        index = tuple((m[:, c] - self._middle[c]) % self.shape[c] for c in range(d))
        return np.asarray(sites[index])

    def velocities(self, time: float, m: IntArray) -> Array:
        """Velocities at lattice coordinates m (n, 3) after a time, (n, 3) Angstrom/time."""
        phase = self._rate * time
        return self._to_sites(np.cos(phase) * self._v - self._omega * np.sin(phase) * self._u, m)

    def displacements(self, time: float, m: IntArray) -> Array:
        """Displacements at lattice coordinates m (n, 3) after a time, (n, 3) Angstrom."""
        phase = self._rate * time
        # At rest in the middle of the zone: u = v t.
        safe = np.where(self._omega > 0.0, self._omega, 1.0)
        moved = np.where(self._omega > 0.0, np.sin(phase) / safe, time)
        return self._to_sites(np.cos(phase) * self._u + moved * self._v, m)


@dataclass(frozen=True, eq=False)
class Reflection:
    """What came back of a packet.

    Attributes
    ----------
    coefficient : float
        Energy that came back into the core over the packet's own: the most there ever was.
    times : (n,) float64, ASE time
    returned : (n,) float64
        The same ratio in time, averaged over a period.
    remaining : (n,) float64
        Energy in the core over the packet's own, falling to what was sent back.
    energy_error : float
        Largest gap in the ledger (``closure``) over the packet's energy; round-off.
    dynamics : Dynamics
        At the end of the run.
    """

    coefficient: float
    times: Array
    returned: Array
    remaining: Array
    energy_error: float
    dynamics: Dynamics


def reflection(
    model: QuasiContinuum,
    packet: WavePacket,
    timestep: float,
    *,
    depth: float,
    friction: ArrayLike | None = None,
    samples: int = 12,
) -> Reflection:
    """Send a packet from the core of a model to the interface and measure what is sent back.

    The atoms of the core, where the blending function is zero and so is the friction, move as the
    perfect lattice does (`FreeMotion`) plus what comes back from outside. The kinetic energy of
    that difference, averaged over a period, over that of the packet is the reflection coefficient,
    of energies; of amplitudes it is the square root.

    Parameters
    ----------
    model : QuasiContinuum
        A perfect crystal at rest, its core large enough to hold the packet: its middle at least
        two and a half widths from the core's end.
    packet : WavePacket
    timestep : float, ASE time
    depth : float, Angstrom
        How far beyond the core's end reflections are waited for.
    friction : (n_nodes,) array_like, 1/time, optional
        Of a bath at zero temperature; see `qc.dynamics.stadium`.
    samples : int
        Points in time.

    Raises
    ------
    InputError
        A packet that does not move, no positive depth, or no packet in the core.
    """
    kind("model", model, QuasiContinuum)
    kind("packet", packet, WavePacket)
    speed = float(np.linalg.norm(packet.group_velocity))
    if speed * packet.width < 1e-6 * packet.frequency * packet.wavelength**2:
        raise InputError("the packet does not move: its group velocity vanishes")
    positive("depth", depth)
    layout = model.layout
    inside = layout.free.any(axis=1) & (layout.beta_nodes == 0.0)
    baths: Sequence[Langevin] = ()
    if friction is not None:
        baths = [Langevin(0.0, friction, noise=False)]
        inside &= np.asarray(friction) == 0.0
    dynamics = Dynamics(model, timestep, baths=baths)
    rest, before = dynamics.potential, model.U.copy()
    u, v = packet.at(layout.node_positions)
    dynamics.set_state(x=before + np.where(layout.free, u, 0.0), v=v)
    nodes = np.nonzero(inside)[0]
    m = np.zeros((len(nodes), 3), dtype=np.int64)
    m[:] = model.mesh.lattice[nodes]
    ahead = packet.group_velocity / speed
    to_end = float(((layout.node_positions[nodes] - packet.centre) @ ahead).max())
    way = to_end + 2.0 * depth + 2.5 * packet.width
    free = FreeMotion(packet, way, timestep)
    mass = dynamics.system.masses[nodes]

    def kinetic(values: Array) -> float:
        return float(0.5 * mass @ (values**2).sum(axis=1))

    steps = int(np.ceil(way / speed / timestep))
    # Twice, a quarter of a period apart: cos^2 + sin^2.
    period = max(2.0 * np.pi / packet.frequency / timestep, 4.0)
    lags = (0, round(period / 4.0))
    start = kinetic(free.velocities(0.0, m))
    whole = 0.5 * (dynamics.kinetic + dynamics.potential - rest)
    if not start > 0.5 * whole:
        raise InputError("the packet does not lie in the core")
    ends = np.unique(np.linspace(period, steps, samples).astype(int))
    returned, remaining, gap = np.zeros(len(ends)), np.zeros(len(ends)), 0.0
    for k, end in enumerate(ends):
        for lag in lags:
            target = max(int(end + lag), dynamics.step)
            dynamics.run(target - dynamics.step)
            v = dynamics.v[nodes]
            returned[k] += kinetic(v - free.velocities(dynamics.time, m)) / len(lags)
            remaining[k] += kinetic(v) / len(lags)
        gap = max(gap, abs(dynamics.ledger.closure))
    # A run leaves its model where it ended.
    model.U = before
    return Reflection(
        float(returned.max() / whole), ends * timestep, returned / whole, remaining / whole,
        gap / (2.0 * whole), dynamics,
    )  # fmt: skip
