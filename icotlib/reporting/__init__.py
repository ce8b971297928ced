"""From finished runs to tables, figures, pages and exports.

results         tidy tables over many runs
speed           speed of finished runs relative to a run that writes no chain
figures         one function per figure
publish         figures/ and results.csv, when the user asks
published       reading the tables of figures/
blocks          every number of README and guide, drawn from tables
guide           README and guide: pages with blocks
hub             a model as a folder for the hub, with a card
widgets         the live plot and the dial
benchmark       speed beside plain loops
loops           the loops that the benchmark compares
cost_benchmark  measured steps beside their calculated cost
"""
