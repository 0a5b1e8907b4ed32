"""Exit codes of `superinfer` and `superinfer-operator` (documented in docs/reference/cli.md)."""

OK = 0
"""Finished or drained."""

FAILURE = 1
"""A runtime error: the engine died, a child could not be kept alive, a check did not hold."""

USAGE = 2
"""The command line is wrong (an unknown option, a missing argument)."""

TARGETS_MISSED = 3
"""`superinfer plan`: the service misses a target of its SLO classes."""

CONFIG = 78
"""The configuration is refused (EX_CONFIG): malformed, contradictory, beyond the machine."""
