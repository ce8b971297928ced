"""Devices, processes, memory, clocks, files, random seeds.

added_rows    rows that commands add to a CSV file of the user's
allocations   the memory that operations would take, without the operations
contents      hashes of what folders, models and code hold
devices       where models run, and what tables call that device
failures      errors of the machine, such as a full disk, as a sentence with a remedy
guard         whether a script may start processes, each of which imports it
isolated      functions in a process of their own, whose memory is measured apart
launch        whether this process trains together with others
leases        one process at a time, also where several machines share a folder
memory        keeping freed memory for the next step; peak memory; what this machine has left
names         texts that become names of files and folders
origin        the commit of the project, and the command that was typed
pretrained    loading from the hub or a folder, with advice where that fails
processes     cores, threads and environment variables
seals         JSON files that know the hashes of other files
seeding       random generators from several numbers
spreadsheets  tables that a spreadsheet runs no formula of
terminal      how wide the text is that commands print
timing        seconds of computing; candidates timed in turn
variables     environment variables that hold numbers and switches
wording       numbers of things, and of bytes, in words
"""
