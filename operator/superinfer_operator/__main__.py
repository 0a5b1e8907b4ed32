"""`python -m superinfer_operator` is `superinfer-operator`."""

from superinfer_operator.cli import main

main()
