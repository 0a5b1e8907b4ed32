"""The decision ladder of one service, pure: the same view, memory and time give the same decision.

What it is told (`rules`, `view`), what it remembers (`memory`), what it answers (`decision`), how
it reads need (`pressure`), its rungs upwards (`climb`) and downwards (`descend`), what it spares
for its neighbours (`lending`), and the one who chooses (`decide`).
"""
