"""`frames`: a connection's frames in a table, as in a browser's network tab."""
