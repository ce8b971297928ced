"""Missing runs, trained here or on a cluster.

jobs          finding finished runs and training missing ones, on a Dask cluster
outcomes      jobs, and how they have ended
cluster       that cluster: workers of this process, or a running one
worker        what happens in a worker
forking       processes that start as copies of one that has imported what they need
forked        signals in that one
launched      training in the processes that a launcher has started, as one team
background    training in a process of its own, to be started, paused, resumed and stopped
progress      progress bars, or lines of text, from run directories
sweeps        a run or a notebook over many settings
cells         what a cell of a sweep consists of, and what has become of it
grids         the settings of a sweep's cells
notebooks     executing notebooks, and training the runs that they need
copies        executed copies: where they are, which are whole, what runs they asked for
parameters    the parameters of a notebook, and what was given for them
lab           JupyterLab on copies of the notebooks
admission     which runs may train side by side: those that memory holds together
"""
