"""`python -m icotlib` is the command `icot`."""

import sys

from icotlib.cli import main

sys.exit(main())
