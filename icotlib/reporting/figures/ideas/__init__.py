"""Pictures that open notebooks.

`figures.idea("stepwise")` draws one; none holds a result.

canvas        boxes, cells, grids, arrows and words, in inches
pictures      every picture by its name, and the figure that draws one
basics        what a model sees, written and hidden steps, baselines, running sums, seeds, routing
removal       how chains get shorter, and what a removed token buys
distillation  the teacher's states: read, predicted, put in
inside        probes, patches and attention
latent        thoughts between question and answer, and how they are trained

A picture is one function with `@picture(height)` in a file here, which draws on a canvas; its
docstring is the description for whoever cannot see it.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
