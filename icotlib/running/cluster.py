"""The Dask cluster that does the jobs: one of this process's own, or one that is running already.

`ICOT_CLUSTER` (or `--cluster`) names the scheduler of a running cluster. Without it, worker
processes on this machine live as long as the call that needs them.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dask.config
import torch
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.comm import connect as connect_to
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.utils import silence_logging_cmgr

from icotlib.errors import ClusterError, RunWarning
from icotlib.running import worker
from icotlib.running.forking import METHOD, VARIABLES, start_method
from icotlib.system.guard import check_guard
from icotlib.system.processes import cores, interrupts_delayed
from icotlib.system.variables import whole_number

#: The environment variable with the address of a running cluster's scheduler.
CLUSTER = "ICOT_CLUSTER"

#: Seconds to wait for the scheduler of a running cluster: at first, and once it was lost.
CONNECT, RECONNECT = 20.0, 600.0

#: Seconds for what listens at an address to answer.
HANDSHAKE = 5

#: What is said of addresses that begin with `tls`.
TLS = "TLS needs Dask's settings distributed.comm.tls (certificates of client and scheduler). "

#: Seconds without a worker after which that is said.
ALONE = 10.0

#: Ready jobs wait at the scheduler, so that a free worker takes the first of them. A worker that
#: was killed has as long as it needs to start again: by default, one that takes 15 seconds is given
#: up for good, and on a busy machine the imports alone take that.
SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "1 hour",
    "distributed.scheduler.worker-saturation": 1.0,
    # Cores are for training: nothing samples the training loop a hundred times a second, and no
    # event loop measures its own delay fifty times a second.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.tick.interval": "1s",
    "distributed.scheduler.work-stealing": False,  # nothing queues at a worker
    "distributed.scheduler.active-memory-manager.start": False,  # nor are results replicated
}


@contextlib.contextmanager
def connect(workers: int, dashboard: bool = False) -> Iterator["Connection"]:
    """A connection to the cluster that `ICOT_CLUSTER` names, or to one of this process's own.

    Args:
        workers: of its own cluster.
        dashboard: whether its own cluster has Dask's dashboard.

    Raises `ClusterError` if the named cluster does not answer.
    """
    address = os.environ.get(CLUSTER)
    with silence_logging_cmgr(logging.CRITICAL):  # what matters is said by `Connection`
        if not address:
            with own_cluster(workers, dashboard) as cluster, Client(cluster) as client:
                yield Connection(client, None, cluster)
            return
        connection = Connection(_client(address, CONNECT), address)
        try:
            yield connection
        finally:
            connection.client.close()


@contextlib.contextmanager
def own_cluster(workers: int, dashboard: bool) -> Iterator[SpecCluster]:
    """Worker processes on this machine; one for each GPU where there are GPUs.

    Raises `ConfigError` in a script that every worker would run once more (`check_guard`).
    """
    check_guard()
    local = {"host": "127.0.0.1", "port": 0}
    scheduler = local | {"dashboard": dashboard, "dashboard_address": "127.0.0.1:0"}
    share = {"ICOT_CORES": str(max(1, cores() // max(1, workers))), "ICOT_CLUSTER": ""}
    specs = {
        number: {
            "cls": Nanny,
            "options": {
                "host": "127.0.0.1",
                "nthreads": 1,
                "memory_limit": 0,  # torch's memory is not Dask's to manage
                "dashboard": False,
                "preload": [worker.__name__],
                "silence_logs": "CRITICAL",
                "env": dict(os.environ) | share | _gpu(number),
            },
        }
        for number in range(workers)
    }
    whole = {"cls": Scheduler, "options": scheduler}
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS | VARIABLES | {METHOD: start_method()}))
        with interrupts_delayed():
            cluster = stack.enter_context(SpecCluster(specs, whole, silence_logs="CRITICAL"))
        yield cluster


def default_workers(threads: int) -> int:
    """Runs of so many threads that this machine trains side by side; `ICOT_JOBS` overrides it."""
    if (asked := whole_number("ICOT_JOBS")) is not None:
        return asked
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return max(1, cores() // threads)


def _gpu(number: int) -> dict[str, str]:
    """The variable that gives a worker one of the GPUs this process sees."""
    if not torch.cuda.is_available():
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(torch.cuda.device_count())))
    return {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}


class Connection:
    """A client of a cluster, which finds the cluster's scheduler again after it was lost."""

    def __init__(self, client: Client, address: str | None, cluster: SpecCluster | None = None):
        self._use(client)
        self._cluster = cluster
        #: The numbers of the processes that have been this one's own workers. A signal to the whole
        #: group ends the process whose copies they are: from then on they are nobody's children.
        self.processes: set[int] = set()
        #: The address of a running cluster; None for one of this process's own.
        self.address = address
        self.alone_since, self.said = time.monotonic(), False

    def _use(self, client: Client) -> None:
        self.client = client
        client.subscribe_topic(worker.WARNINGS, _warn)

    @property
    def is_lost(self) -> bool:
        """Whether the scheduler does not answer."""
        return self.client.status != "running"

    def reconnect(self, say: Callable[[str], None]) -> None:
        """Wait until the scheduler answers again. Raises `ClusterError` after `RECONNECT` s."""
        if self.address is None:
            raise ClusterError(
                "the Dask scheduler of this process ended. Ask for the same again: runs resume "
                "from their last checkpoint"
            )
        say(f"lost the Dask scheduler at {self.address}: waiting for it to come back")
        self.client.close(timeout=2)
        self._use(_client(self.address, RECONNECT))
        say(f"the Dask scheduler at {self.address} is back: jobs that are not finished go on")

    def describe(self) -> str:
        """The cluster in a line, with its dashboard's address."""
        place = f"Dask cluster at {self.address}" if self.address else "workers on this machine"
        link = self.client.dashboard_link
        return f"{place}; dashboard: {link}" if link else place

    def look_for_workers(self, say: Callable[[str], None]) -> None:
        """Note this process's own workers; say once if a running cluster has had none for `ALONE`
        s."""
        if self._cluster is not None:
            self.processes |= {one.pid for one in self._cluster.workers.values() if one.pid}
        if self.address is None:
            return
        if self.is_lost or self.client.scheduler_info(n_workers=-1)["workers"]:
            self.alone_since, self.said = time.monotonic(), False
        elif not self.said and time.monotonic() - self.alone_since > ALONE:
            self.said = True
            say(
                f"the Dask cluster at {self.address} has no worker: waiting. Workers end with "
                "their scheduler: restart them after it"
            )


def _warn(event: tuple[float, str]) -> None:
    """Warn of what a worker has warned of, without the place in the code of either."""
    _, message = event
    warnings.warn_explicit(RunWarning(message), None, "worker", 0)


def _knock(address: str) -> None:
    """Raises `OSError` or `ValueError` if no scheduler answers at an address.

    A client that never connects would print a traceback when it is collected, and one that gets no
    answer would wait for ever.
    """
    protocol, place = parse_address(address)
    if protocol in ("tcp", "tls"):
        with socket.create_connection(parse_host_port(place), timeout=HANDSHAKE):
            pass
    if protocol == "tcp":
        with ThreadPoolExecutor(1) as pool:  # a kernel's own loop runs in this thread
            pool.submit(asyncio.run, _shake_hands(address)).result()


async def _shake_hands(address: str) -> None:
    """Raises `OSError` if what listens at an address does not answer as Dask does."""
    try:
        comm = await asyncio.wait_for(connect_to(address, timeout=HANDSHAKE), 2 * HANDSHAKE)
    except OSError as error:
        raise OSError(
            "what listens there does not answer as a scheduler does; 8787 is the port of Dask's "
            "dashboard, 8786 that of its scheduler"
        ) from error
    comm.abort()


def _client(address: str, seconds: float) -> Client:
    """A client of a running cluster. Raises `ClusterError` if it does not answer for so long."""
    limit = time.monotonic() + seconds
    while True:
        try:
            _knock(address)
            return Client(address, timeout=min(5.0, seconds), set_as_default=False)
        except Exception as error:  # each protocol raises types of its own
            if not isinstance(error, OSError) or time.monotonic() > limit:
                hint = TLS if address.startswith("tls:") else ""
                raise ClusterError(
                    f"no Dask scheduler answers at {address!r} ({error}). {hint}Start one with "
                    "`dask scheduler`, or leave out --cluster (ICOT_CLUSTER) to use this machine"
                ) from None
            time.sleep(1)
