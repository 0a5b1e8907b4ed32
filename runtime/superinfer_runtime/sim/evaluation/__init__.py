"""`superinfer simulate`: many independent runs, side by side, and the rates that policies hold."""
