"""How the finder learnt: pages of MNIST's digits among everything else. For developers alone."""
