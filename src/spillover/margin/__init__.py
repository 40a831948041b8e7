"""Max-margin theory: the least norm that tells every fact apart."""
