"""What a run costs, calculated.

cost          operations, memory and disk of a run
peaks         the peak memory of a run's process
lengths       sequence lengths of the papers' runs, without their data
fitting       whether a run fits one device's memory, and how it does otherwise
device_speed  seconds per step on a device, from operations and parameters
"""
