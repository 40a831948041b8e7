"""What is done to a tune so that it teaches otherwise."""
