"""What time courses of regions say: of each other, of events, and of behaviour."""
