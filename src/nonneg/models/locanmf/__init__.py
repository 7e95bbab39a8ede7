"""Localised semi-NMF of movies: footprints near regions, and their time courses."""
