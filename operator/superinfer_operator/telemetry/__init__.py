"""What the runtimes report.

Received (`receiver`, `grpc_receiver`) from whoever has a token (`authentication`), read (`ingest`,
`reading`, `points`), kept for a while (`registry`, `windows`, `series`).
"""
