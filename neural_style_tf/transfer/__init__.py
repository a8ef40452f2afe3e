"""The algorithm: from two pictures to a third, coarse to fine."""
