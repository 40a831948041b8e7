"""Interventions side by side: what each keeps, removes and costs."""
