"""Real models timed on real devices, with what the machine did meanwhile."""
