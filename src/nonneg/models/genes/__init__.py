"""What factors say about genes, from k x k products."""
