"""Comparisons with what the field uses, both sides in one run."""
