"""What a solver may ask of a matrix, for each way of holding one."""
