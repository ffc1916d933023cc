"""Methods of predicting responses to perturbations compared on held-out perturbations."""
