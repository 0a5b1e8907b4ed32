"""`make demo`: stock vLLM and RotaSched on the same load and the same KV memory, side by side."""
