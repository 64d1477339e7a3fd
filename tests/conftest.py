"""Settings shared by all tests."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
# Processes share the cores already.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba
import pytest
from hypothesis import HealthCheck, settings

# One thread for each of the processes that tests run in, unless their number is asked for.
if "PYTEST_XDIST_WORKER" in os.environ and "NUMBA_NUM_THREADS" not in os.environ:
    numba.set_num_threads(1)


def pytest_configure():
    """Keep kernels with bounds checks out of the usual cache: numba does not tell them apart."""
    if numba.config.BOUNDSCHECK and "NUMBA_CACHE_DIR" not in os.environ:
        raise pytest.UsageError("NUMBA_BOUNDSCHECK=1 needs a NUMBA_CACHE_DIR of its own")

# The first call of a kernel compiles it, which no deadline should punish; examples are drawn in
# the same order on every run, so that a failure seen once is seen again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
