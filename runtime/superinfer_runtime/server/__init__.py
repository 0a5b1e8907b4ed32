"""`superinfer serve`: stock vLLM's OpenAI server with SLO classes, live KV budgets and draining.

Nothing at the top of these modules imports vLLM, so the command line answers at once and a refused
configuration is told before anything is loaded.
"""
