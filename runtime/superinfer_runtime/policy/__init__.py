"""RotaSched's decisions, pure: no vLLM, no torch, no clock. Time is an argument, in seconds."""
