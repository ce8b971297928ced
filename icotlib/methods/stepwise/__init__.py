"""Stepwise internalization (ICoT-SI, arXiv 2405.14838).

schedules  how many chain tokens are removed at each step, with removal smoothing
rollback   the schedule that goes back after a collapse
method     the method: its settings, and when the optimizer is reset (the trainer resets it)
"""
