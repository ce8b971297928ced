"""What every process of the tests must know before it loads torch."""

import os

# Threads that wait for each other would spin, on cores that other processes of the tests need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
