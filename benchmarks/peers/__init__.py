"""What Footfall is held against, each as its own users would first write it."""
