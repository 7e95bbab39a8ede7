"""What factorizations share: penalties, updates of one factor, order of factors."""
