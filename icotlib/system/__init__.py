"""What the library needs of the machine: devices, processes, memory, clocks, random seeds.

devices     where models run, and what tables call that device
failures    errors of the machine, such as a full disk, as a sentence with a remedy
isolated    functions in a process of their own, whose memory is measured apart
launch      whether this process trains together with others
leases      one process at a time, also where several machines share a folder
memory      keeping freed memory for the next step; peak memory
origin      the commit of the project, and the command that was typed
pretrained  loading from the hub or a folder, with advice where that fails
processes   cores, threads and environment variables
seeding     random generators from several numbers
timing      seconds of computing; candidates timed in turn
variables   environment variables that hold numbers and switches
"""
