"""NMF and semi-NMF of an AnnData."""
