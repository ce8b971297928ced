"""The orders in which runs are listed, by the names that users give them.

Nothing is imported here, so that `icot runs --help` names them at once.
"""

#: By name: the column of `icotlib.reporting.overview.runs_table`, and whether its smallest value
#: comes first. Runs without a value come last.
ORDERS = {
    "name": ("run", True),
    "accuracy": ("accuracy", False),
    "seconds": ("train_seconds", True),
    "date": ("date", False),
}
