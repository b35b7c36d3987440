"""`python -m optreg`: the command line without the console script."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # `-m` puts the working folder first, where a file `queue.py` would hide Python's own

from optreg.cli import main

main(prog_name="optreg")
