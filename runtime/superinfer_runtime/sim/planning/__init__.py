"""`superinfer plan`: what a service needs, found by simulating it before it is applied."""
