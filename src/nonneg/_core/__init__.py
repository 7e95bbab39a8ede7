"""What every part of the package uses: no arrays, no AnnData."""
