"""Meta-training: objectives are task losses, steps update meta-parameters, one loop drives them."""
