"""The report: tables for the terminal, charts, and one HTML page; reads run folders only."""
