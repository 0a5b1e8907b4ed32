"""What the runtimes report.

Received (`receiver`, `grpc_receiver`), read (`ingest`, `points`), kept for a while (`series`,
`windows`).
"""
