"""The six transforms that neural-style needs, for a torch beside which no torchvision loads."""
