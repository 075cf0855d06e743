"""How the detector learns: pages of digits among everything else. For developers alone."""
