"""What a tune changed: singular values of weights and heads."""
