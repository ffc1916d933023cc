"""Other ways to infer a network, one file each, all with the signature of `problem.Solve`."""
