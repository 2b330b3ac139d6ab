"""What a trained network computes, and which pixels its predictions depend on."""
