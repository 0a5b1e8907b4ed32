"""The simulator: the real policy, ledger and slots on virtual time, with measured costs."""
