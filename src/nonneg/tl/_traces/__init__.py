"""What time courses of regions say."""
