"""Prediction at any coordinates."""
