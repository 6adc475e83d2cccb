"""Record streams and draw marble diagrams of them."""
