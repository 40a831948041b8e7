"""The unit of work: one tune, or none, and what is asked then."""
