"""Integration of data sets in AnnData and files."""
