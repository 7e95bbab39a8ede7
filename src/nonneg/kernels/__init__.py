"""Pure functions on arrays, named by their mathematical role."""
