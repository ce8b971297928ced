"""Published figures, numbers in pages, web pages.

publish              figures/ and results.csv, when the user asks
published            reading the tables of figures/
redrawn              published figures drawn again from their tables
blocks               every number of README and guide, drawn from tables
study_blocks         those that are drawn from the tables of studies
deviation_blocks     where the preset `fast` differs from the papers
distillation_blocks  those of the page on distillation
four_digits_blocks   those on 4x4 digits
inside_blocks        those of the page on hidden states
latent_blocks        those of the page on latent thoughts
speed_blocks         those of the page on speed
study_tables         tables over seeds as text
guide                README and guide: pages with blocks
site                 README, notebooks and guide as web pages
"""
