"""What runs will take.

plan          what a run will take
outlook       what several runs will take together
planner       plans while settings are typed, in a process of its own
timed         the seconds of a run, from a few of its steps and a part of its evaluations
stand_ins     untrained weights in the place of runs that others build on, to time steps
calibration   how many steps of a method take as long as a run of another
"""
