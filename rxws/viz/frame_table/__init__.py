"""`frames`: the frames of a connection, as a network tab shows them."""
