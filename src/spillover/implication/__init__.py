"""What a table implies beyond itself: margins, rules, advice."""
