"""Where patterns lie: regions, their neighbours, and sets of them that fit a pattern."""
