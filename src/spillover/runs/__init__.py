"""The record: the folder of a run, and the statistics that go in it."""
