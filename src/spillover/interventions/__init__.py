"""INTERVENTIONS: what is done to a tune so that it teaches otherwise; a null control is one too."""
