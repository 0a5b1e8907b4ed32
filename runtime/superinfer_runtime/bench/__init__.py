"""`superinfer bench`: open-loop streaming load against any OpenAI-compatible endpoint.

The load is planned in full before it is sent (`workload`), from one seed, so two servers can be
offered the identical load. Sending never waits for answers (`runner`), and every request is judged
from its *scheduled* arrival, so a slow server cannot slow the load that judges it (`report`).
Nothing here imports vLLM, torch or the rest of the runtime: what is measured is what a client sees.
"""
