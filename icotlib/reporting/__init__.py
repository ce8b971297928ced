"""From finished runs to tables, statistics, figures and sentences.

results         tidy tables over many runs
groups          runs that differ in their seed alone, and in what groups differ
samples         what the seeds of a group answered, question by question
statistics      intervals and tests over seeds and questions
comparison      two groups or two runs side by side, and what the tests show
summary         one row per configuration, with intervals over seeds
on_file         one row per configuration, of several runs on one file of questions
tables          CSV, Markdown and LaTeX, with the runs of every row
readable        tables below the cells of a notebook
scrolling       wide tables that scroll by keyboard
selection       choosing and ordering runs by their settings
orders          the orders in which runs are listed
overview        all runs as one table, and the settings in which single runs differ
cleanup         what can be deleted without losing a result
speed           speed of finished runs relative to a run that writes no chain
figures         one function per figure
conclusions     what notebooks saw, in sentences
"""
