"""Repair of volumes: what is missing, and slices of unequal strength."""
