"""Where patterns lie: regions that they fit, and regions that they predict."""
