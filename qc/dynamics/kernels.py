"""Kernels of the integrators: kicks, drifts and the friction-noise step, with their energies.

All of them take inverse masses per component, zero where a component is held, so that nothing that
is held moves or takes energy.
"""

from __future__ import annotations

from qc.numerics.jit import kernel


@kernel()
def kick(v, f, inverse, masses, time, out):
    """Set ``out = v + time f / m``, ``v`` itself perhaps; return the change of kinetic energy."""
    change = 0.0
    for n in range(v.shape[0]):
        for c in range(3):
            step = time * f[n, c] * inverse[n, c]
            old = v[n, c]
            out[n, c] = old + step
            change += masses[n] * step * (old + 0.5 * step)
    return change


@kernel()
def drift(x, v, time, out):
    """Set ``out = x + time v``."""
    for n in range(x.shape[0]):
        for c in range(3):
            out[n, c] = x[n, c] + time * v[n, c]


@kernel()
def kinetic(v, masses):
    """Return the kinetic energy."""
    total = 0.0
    for n in range(v.shape[0]):
        total += masses[n] * (v[n, 0] * v[n, 0] + v[n, 1] * v[n, 1] + v[n, 2] * v[n, 2])
    return 0.5 * total


@kernel()
def friction_noise(v, nodes, decay, amplitude, temperature, noise, free, masses, heat):
    """Take the exact step of friction and noise, in place.

    ``v' = c v + a sqrt(T) xi`` on the free components of ``nodes``; ``heat`` (n_nodes,) receives
    the change of each node's kinetic energy.
    """
    for k in range(nodes.shape[0]):
        n = nodes[k]
        spread = amplitude[k] * temperature[k] ** 0.5
        gained = 0.0
        for c in range(3):
            if free[n, c]:
                new = decay[k] * v[n, c] + spread * noise[k, c]
                gained += (new - v[n, c]) * (new + v[n, c])
                v[n, c] = new
        heat[k] = 0.5 * masses[n] * gained
