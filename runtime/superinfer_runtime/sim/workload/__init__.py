"""What is asked of the simulated service: made up, recorded, or drawn from distributions."""
