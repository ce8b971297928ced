"""Which runs are missing, where they are made, at what cost.

jobs          finding finished runs and training missing ones, on a Dask cluster
cluster       that cluster: workers of this process, or a running one
worker        what happens in a worker
forking       processes that start as copies of one that has imported what they need
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
planning      what a run will take, before it starts
outlook       what several runs will take together
planner       plans while settings are typed, in a process of its own
costs         operations, memory and disk of a run, calculated
peaks         the peak memory of a run's process, calculated
calibration   how many steps of a method take as long as a run of another
stand_ins     untrained weights in the place of runs that others build on, to time steps
timed         the seconds of a run, from a few of its steps and a part of its evaluations
fitting       whether a run fits one device's memory, and how it does otherwise
lengths       sequence lengths of the papers' runs, without their data
device_speed  seconds per step on a device, from operations and parameters
"""
