"""Instruments in notebooks; headless, each returns what it would show.

panel           the training panel: start, pause, resume and stop runs
run_browser     the run browser: find runs, compare their settings and curves
picking         its list of runs with a filter, of which several are picked
settings_form   the settings form: fill in the settings of a run, with its plan
settings_rows   one setting of that form
figure_desk     the figure desk: choose, size, preview and save a figure
dial            one question, answered while more and more of the chain is removed
stage_slider    the slider of the dial, with a name
explorer        cells of a model's maps, chosen by click or arrow key
map_grid        the map that is clicked
live            the live plot, and the table of a sweep
parts           what instruments share: sentences, images, pickers
"""
