"""Measurements: each against its rival or its floor in the same run."""
