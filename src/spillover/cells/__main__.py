"""A cell's process, started by `apart.Processes`."""

from spillover.cells.apart import serve

serve()
