"""`watch`: a live marble diagram."""
