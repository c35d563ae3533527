"""What a run will cost, known before it: time, memory, and what is left of both."""
