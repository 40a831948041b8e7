"""What a tune changed, weight by weight and head by head."""
