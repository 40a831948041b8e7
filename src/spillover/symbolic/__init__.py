"""The one-layer lab: symbolic factual recall, trained many runs at once and measured."""
