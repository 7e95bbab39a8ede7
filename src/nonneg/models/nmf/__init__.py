"""Non-negative matrix factorization, semi-NMF, and projection."""
