"""The unit of work: one tune, or none, and what the model is asked then."""
