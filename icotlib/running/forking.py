"""Processes that start as copies of one that has imported what they need."""

import multiprocessing
import os
import sys
from multiprocessing import forkserver

import dask.config
import torch
from distributed.utils import get_mp_context

from icotlib.system.processes import environment

#: Dask's setting of how processes are started.
METHOD = "distributed.worker.multiprocessing-method"

#: What Dask sets before it starts a process. A job is done in a thread, whose own arena of memory
#: would return what is freed to the system.
VARIABLES = {"distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": "1"}

#: What the process imports, of which all others are copies.
IMPORTED = ["icotlib.running.forked", "icotlib.running.worker", "icotlib.planning.plan"]


def start_method() -> str:
    """How to start a process: `forkserver`, with the server running, or `spawn`.

    The server stays for as long as this process, whose later calls then start at once; one that
    the user's own code has started is taken as it is. Where there are GPUs each process imports
    for itself, because CUDA may not be forked; and beyond Linux, because libraries of the system
    may not.
    """
    if torch.cuda.is_available() or sys.platform != "linux":
        return "spawn"
    with dask.config.set(VARIABLES | {METHOD: "forkserver"}):
        get_mp_context()  # names modules to import, which the next line replaces
        multiprocessing.set_forkserver_preload(IMPORTED)
        wanted = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    # Libraries read these when they are loaded.
    variables = {name: os.environ.get(name, str(x)) for name, x in wanted.items()}
    # Each copy is told those of icotlib, which may change from call to call.
    own = dict.fromkeys(name for name in os.environ if name.startswith("ICOT_"))
    with environment(**variables, **own):
        forkserver.ensure_running()
    return "forkserver"
