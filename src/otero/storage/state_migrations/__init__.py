"""The schema of the small mutable state, step by step: `versions/NNNN_what.py`, revision NNNN."""
