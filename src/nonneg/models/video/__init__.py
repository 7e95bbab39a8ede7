"""Recordings as pixels x frames: motion, compression, hemodynamics."""
