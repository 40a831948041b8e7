"""The one-layer lab: many small models trained at once, measured."""
