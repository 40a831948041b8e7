"""LANGUAGE MODELS: load, tune, score."""
