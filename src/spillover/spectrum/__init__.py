"""What a tune changed in the weights: norms and ranks, weight by weight and head by head."""
