"""The record: a run's folder, written and read; statistics."""
