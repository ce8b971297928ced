"""From finished runs to tables, figures, pages and exports.

results         tidy tables over many runs
groups          runs that differ in their seed alone, and in what groups differ
samples         what the seeds of a group answered, question by question
statistics      intervals and tests over seeds and questions
comparison      two groups or two runs side by side, and what the tests show
summary         one row per configuration, with intervals over seeds
tables          CSV, Markdown and LaTeX, with the runs of every row
readable        tables below the cells of a notebook
scrolling       wide tables that scroll by keyboard
selection       choosing and ordering runs by their settings
orders          the orders in which runs are listed
overview        all runs as one table, and the settings in which single runs differ
archive         runs as one file, to keep or to send
ship            small trained models that come with the workbook
cleanup         what can be deleted without losing a result
speed           speed of finished runs relative to a run that writes no chain
figures         one function per figure
conclusions     what notebooks saw, in sentences
publish         figures/ and results.csv, when the user asks
published       reading the tables of figures/
redrawn         published figures drawn again from their tables
blocks          every number of README and guide, drawn from tables
study_blocks    those that are drawn from the tables of studies
guide           README and guide: pages with blocks
site            README, notebooks and guide as web pages
hub             a model as a folder for the hub, with a card
cards           what a card says
card_code       the Python of a card, which answers with transformers alone where it can
push            the upload of such a folder
panel           the training panel: start, pause, resume and stop runs from a notebook
picking         a list of runs with a filter, of which several are picked
run_browser     the run browser: find runs, compare their settings and curves
settings_form   the settings form: fill in the settings of a run, with its plan
settings_rows   one setting of that form
figure_desk     the figure desk: choose, size, preview and save a figure
parts           parts of these instruments: sentences, images, pickers
dial            one question, answered while more and more of the chain is removed
stage_slider    the slider of the dial, with a name
explorer        cells of a model's maps, chosen by click or arrow key
map_grid        the map that is clicked
widgets         the live plot, and the table of a sweep
benchmark       speed beside plain loops
loops           the loops that the benchmark compares
cost_benchmark  measured steps beside their calculated cost
records         seconds until a model answers with all chain tokens removed
plan_benchmark  measured runs beside their plans: peak memory and seconds
"""
