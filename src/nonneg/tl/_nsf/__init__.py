"""The NSF family on AnnData."""
