"""`python -m optreg`: the command line without the console script."""

from optreg.cli import main

main(prog_name="optreg")
