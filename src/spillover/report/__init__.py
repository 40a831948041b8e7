"""Tables, charts and one HTML page, from run folders alone."""
