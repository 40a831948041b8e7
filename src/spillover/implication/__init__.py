"""What a table of facts implies beyond itself: held-out margins, discovery, advice. No torch."""
