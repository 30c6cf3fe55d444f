"""`python -m otero`."""

from otero.cli import main

main()
