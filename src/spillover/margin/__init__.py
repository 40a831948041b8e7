"""Max-margin theory: the least norm of W under which every example is told from its alternatives."""
