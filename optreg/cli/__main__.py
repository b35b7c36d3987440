"""`python -m optreg.cli`: the command line without the console script."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # `-m` puts the working folder there, and a file `queue.py` in it before Python's own

from optreg.cli import main

main(prog_name="optreg")
