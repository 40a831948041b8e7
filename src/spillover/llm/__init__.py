"""Language models: find, load, adapt, tune over processes, ask."""
