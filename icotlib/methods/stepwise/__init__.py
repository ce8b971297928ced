"""Stepwise internalization (ICoT-SI, arXiv 2405.14838).

schedules  when chain tokens are removed, with removal smoothing
method     fine-tuning while they are removed, with the optimizer reset
"""
