"""Kernels of the heat field: exchange with nodes, conductances, the implicit step, its books."""

from __future__ import annotations

from math import log1p, sqrt

from qc.numerics.jit import kernel

#: Rows of the work array that `implicit_step` needs.
WORK_ROWS = 8


@kernel()
def interpolate(start, column, weight, energy, capacity, out):
    """Set ``out`` to the temperature that every node feels; NaN where it is not coupled.

    ``1 / T_I = sum_k N_Ik / T_k``: then heat that leaves the heat nodes by the shares N_Ik takes
    the entropy ``heat / T_I`` with it.
    """
    for i in range(out.shape[0]):
        total = 0.0
        for p in range(start[i], start[i + 1]):
            total += weight[p] * capacity[column[p]] / energy[column[p]]
        out[i] = 1.0 / total if start[i + 1] > start[i] else float("nan")


@kernel()
def share(start, column, weight, heat, gain):
    """Set ``gain = -N^T heat``; return the first node whose heat has nowhere to go, or -1.

    The last of a node's heat nodes takes what the others leave, so that none is lost to rounding
    of the weights.
    """
    gain[:] = 0.0
    for i in range(heat.shape[0]):
        rest = heat[i]
        if rest == 0.0:
            continue
        last = start[i + 1] - 1
        if last < start[i] or not abs(rest) < 1e300:
            return i
        for p in range(start[i], last):
            part = weight[p] * heat[i]
            gain[column[p]] -= part
            rest -= part
        gain[column[last]] -= rest
    return -1


@kernel()
def first_not_positive(energy, gain):
    """Return the first place where ``energy + gain`` is not positive and finite, or -1."""
    for k in range(energy.shape[0]):
        after = energy[k] + gain[k]
        if not (after > 0.0 and after < 1e300):
            return k
    return -1


@kernel()
def add(energy, gain, capacity):
    """Add ``gain`` to ``energy``; return the change of entropy ``sum C log(1 + gain / energy)``."""
    entropy = 0.0
    for k in range(energy.shape[0]):
        entropy += capacity[k] * log1p(gain[k] / energy[k])
        energy[k] += gain[k]
    return entropy


@kernel()
def conductances(energy, capacity, elements, gradients, factor, pairs, out):
    """Set ``out`` (n_edges,) to minus the off-diagonal entries of ``K^L``, see `conduction`.

    ``elements`` (n_e, d + 1) are heat nodes, ``factor`` (n_e,) conductivity times volume, ``pairs``
    (n_e, d (d + 1) / 2) the edge of every pair of corners, -1 where both are one heat node.
    """
    out[:] = 0.0
    corners = elements.shape[1]
    for e in range(elements.shape[0]):
        if factor[e] == 0.0:
            continue
        t0 = energy[elements[e, 0]] / capacity[elements[e, 0]]
        mean = t0
        y0 = y1 = y2 = s0 = s1 = s2 = size = 0.0
        for a in range(corners):
            g0, g1, g2 = gradients[e, a, 0], gradients[e, a, 1], gradients[e, a, 2]
            size += g0 * g0 + g1 * g1 + g2 * g2
            if a == 0:
                continue
            t = energy[elements[e, a]] / capacity[elements[e, a]]
            mean += t
            # y = grad T and s = -grad 1/T, from differences: digits are kept near equilibrium.
            dt = t - t0
            ds = dt / (t * t0)
            y0 += g0 * dt
            y1 += g1 * dt
            y2 += g2 * dt
            s0 += g0 * ds
            s1 += g1 * ds
            s2 += g2 * ds
        mean /= corners
        yy = y0 * y0 + y1 * y1 + y2 * y2
        ss = s0 * s0 + s1 * s1 + s2 * s2
        ys = y0 * s0 + y1 * s1 + y2 * s2
        # Below a relative difference of 1e-6 both forms agree to 1e-12; above 60 degrees between
        # the two gradients the element is too coarse for its temperatures, and only SPD matters.
        secant = yy > 1e-12 * mean * mean * size and ys > 0.5 * sqrt(yy * ss)
        pair = 0
        for a in range(corners):
            a0, a1, a2 = gradients[e, a, 0], gradients[e, a, 1], gradients[e, a, 2]
            for b in range(a + 1, corners):
                edge = pairs[e, pair]
                pair += 1
                if edge < 0:
                    continue
                b0, b1, b2 = gradients[e, b, 0], gradients[e, b, 1], gradients[e, b, 2]
                value = mean * mean * (a0 * b0 + a1 * b1 + a2 * b2)
                if secant:
                    sa, sb = a0 * s0 + a1 * s1 + a2 * s2, b0 * s0 + b1 * s1 + b2 * s2
                    ya, yb = a0 * y0 + a1 * y1 + a2 * y2, b0 * y0 + b1 * y1 + b2 * y2
                    value += ya * yb / ys - mean * mean * sa * sb / ss
                out[edge] -= factor[e] * value


@kernel()
def _flow(delta, ends, w, dt, out):
    """Add ``dt K delta``, edge by edge: what one node loses the other gains."""
    for e in range(ends.shape[0]):
        i, j = ends[e, 0], ends[e, 1]
        q = dt * w[e] * (delta[i] - delta[j])
        out[i] += q
        out[j] -= q


@kernel()
def _residual(theta, delta, first, energy, ends, w, power, held, dt, gain, r):
    """Set ``gain = dt (K theta + power)`` and ``r = C / theta - E_old - gain``, 0 where held."""
    for i in range(theta.shape[0]):
        gain[i] = dt * power[i]
    _flow(delta, ends, w, dt, gain)
    for i in range(theta.shape[0]):
        # C / theta - E_old without cancellation.
        r[i] = 0.0 if held[i] else -energy[i] * (delta[i] - first[i]) / theta[i] - gain[i]


@kernel()
def _conjugate_gradients(theta, capacity, ends, w, held, dt, diagonal, tolerance, r, x, p, ap):
    """Solve ``(C / theta^2 + dt K) x = r`` on the nodes that are not held; ``r`` is used up."""
    n = theta.shape[0]
    rz = 0.0
    for i in range(n):
        x[i] = 0.0
        p[i] = r[i] / diagonal[i]
        rz += r[i] * p[i]
    goal = tolerance * tolerance * rz
    for _ in range(10 * n + 50):
        if rz <= goal or rz == 0.0:
            break
        for i in range(n):
            ap[i] = 0.0
        _flow(p, ends, w, dt, ap)
        curvature = 0.0
        for i in range(n):
            ap[i] = 0.0 if held[i] else ap[i] + capacity[i] / (theta[i] * theta[i]) * p[i]
            curvature += p[i] * ap[i]
        if not curvature > 0.0:
            break
        alpha = rz / curvature
        new = 0.0
        for i in range(n):
            x[i] += alpha * p[i]
            r[i] -= alpha * ap[i]
            new += r[i] * r[i] / diagonal[i]
        beta = new / rz
        rz = new
        for i in range(n):
            p[i] = r[i] / diagonal[i] + beta * p[i]


@kernel()
def implicit_step(
    energy, capacity, ends, w, power, held, dt, reference, tolerance, work, theta, delta, gain, r
):
    """Solve ``C / theta = E_old + dt (K theta + power)``; return Newton steps, -1 on failure.

    On return ``delta`` is ``theta - reference``, ``gain`` is ``dt (K theta + power)`` on every
    node, held ones included, and ``r`` what the equation lacks. Flows are computed from ``delta``:
    near an equilibrium at the reference no digits are lost however long the step.
    """
    n = energy.shape[0]
    first, step, p, ap = work[0], work[1], work[2], work[3]
    spread, diagonal, trial, noise = work[4], work[5], work[6], work[7]
    for i in range(n):
        first[i] = (capacity[i] - energy[i] * reference) / energy[i]
        delta[i] = first[i]
        theta[i] = reference + delta[i]
        spread[i] = 0.0
        noise[i] = 0.0
    for e in range(ends.shape[0]):
        for k in range(2):
            spread[ends[e, k]] += dt * w[e]
    _residual(theta, delta, first, energy, ends, w, power, held, dt, gain, r)
    forcing, last = 0.1, -1.0
    for iteration in range(200):
        for i in range(n):
            noise[i] = dt * abs(power[i])
        for e in range(ends.shape[0]):
            i, j = ends[e, 0], ends[e, 1]
            q = dt * abs(w[e]) * (abs(delta[i]) + abs(delta[j]))
            noise[i] += q
            noise[j] += q
        error = scale = 0.0
        for i in range(n):
            if held[i]:
                continue
            weight = theta[i] * theta[i] / capacity[i]
            error += weight * r[i] * r[i]
            rounding = 1e-15 * noise[i]
            scale += weight * (tolerance * tolerance * gain[i] * gain[i] + rounding * rounding)
        if error <= scale:
            return iteration
        if last > 0.0:
            forcing = min(0.1, max(1e-6, error / last))
        last = error
        for i in range(n):
            diagonal[i] = capacity[i] / (theta[i] * theta[i]) + max(spread[i], 0.0)
            trial[i] = r[i]
        _conjugate_gradients(
            theta, capacity, ends, w, held, dt, diagonal, forcing, trial, step, p, ap
        )
        slope, fall = 0.0, 0.0
        for i in range(n):
            slope += r[i] * step[i]
            fall = max(fall, -step[i] / theta[i])
        length = 1.0 if fall < 0.8 else 0.8 / fall
        for i in range(n):
            trial[i] = delta[i]
        # The residual is the gradient of a concave function: a step that ends where it descends
        # steeply went too far.
        for _ in range(60):
            for i in range(n):
                delta[i] = trial[i] + length * step[i]
                theta[i] = reference + delta[i]
            _residual(theta, delta, first, energy, ends, w, power, held, dt, gain, r)
            end = 0.0
            for i in range(n):
                end += r[i] * step[i]
            if end >= -0.9 * slope:
                break
            length *= 0.5
    return -1


@kernel()
def production(before, after, capacity, ends, w, power, held, dt, theta, delta, gain, r):
    """Return the entropy produced by a step, as a sum that near equilibrium keeps its digits.

    ``sum_i C_i (log(1 + x_i) - x_i / (1 + x_i)) + theta_new . dt K theta`` with
    ``x = after / before - 1``, the second term as ``theta . dt K theta`` and what ``r`` adds.
    """
    total = 0.0
    for i in range(before.shape[0]):
        x = ((after[i] - before[i]) if held[i] else gain[i]) / before[i]
        if abs(x) < 1e-4:
            total += capacity[i] * x * x * (0.5 - x * (2.0 / 3.0 - 0.75 * x))
        else:
            total += capacity[i] * (log1p(x) - x / (1.0 + x))
        total += (gain[i] - dt * power[i]) * theta[i] * r[i] / after[i]
    for e in range(ends.shape[0]):
        difference = delta[ends[e, 0]] - delta[ends[e, 1]]
        total += dt * w[e] * difference * difference
    return total
