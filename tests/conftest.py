"""Settings shared by all tests."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import HealthCheck, settings

# The first call of a kernel compiles it, which no deadline should punish; examples are drawn in
# the same order on every run, so that a failure seen once is seen again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
