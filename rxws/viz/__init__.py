"""Live flows as pictures, in a notebook and outside."""
