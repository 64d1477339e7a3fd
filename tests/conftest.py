"""Settings shared by all tests."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
# Processes share the cores already.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    numba.set_num_threads(1)

# The first call of a kernel compiles it, which no deadline should punish; examples are drawn in
# the same order on every run, so that a failure seen once is seen again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
