"""`python -m tiergate.cli` is the same as `tiergate`."""

from tiergate.cli import main

main()
