"""Signals in the process of which workers are copies; imported there alone.

SIGTERM and SIGHUP often go to a whole group of processes. If they ended this process, Dask would
take its copies for ended too, and end those that are still writing a checkpoint. It ends with the
process that started it. The copies get the handlers back.
"""

import os
import signal

from icotlib.system.processes import ending_signals

_before = {kind: signal.signal(kind, signal.SIG_IGN) for kind in ending_signals()}


def _restore() -> None:
    for kind, handler in _before.items():
        signal.signal(kind, handler)


os.register_at_fork(after_in_child=_restore)
