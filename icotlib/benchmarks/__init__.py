"""Speed, memory and time, each compared in one run.

speed           training and evaluation beside plain loops
loops           the loops that are compared
costs           measured steps beside their calculated cost
plans           measured runs beside their plans: peak memory and seconds
records         seconds until a model answers with all chain tokens removed
"""
