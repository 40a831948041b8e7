"""WHAT IS KNOWN: triples, rules, the split and the prompts."""
