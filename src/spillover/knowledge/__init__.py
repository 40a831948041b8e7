"""What is known: triples and rules, split and put into prompts."""
