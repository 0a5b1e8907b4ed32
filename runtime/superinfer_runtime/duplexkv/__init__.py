"""DuplexKV: full-duplex rotation of KV blocks between HBM and DRAM.

`ledger` owns what each block is, `slots` which DRAM slots exist, `planner` which bytes to copy;
these are pure. A copy engine (`copy_engine` is the interface, `cpu_engine` the one for CPUs) moves
the bytes and acknowledges finished jobs.
"""
