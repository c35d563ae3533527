"""A running optimisation: its settings, steps, L-BFGS, preconditioner, guard and checkpoints."""
