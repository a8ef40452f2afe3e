"""The style transfer itself: plan a run, and paint it at each scale, coarse to fine."""
