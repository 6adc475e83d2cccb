"""Peers that the tests control: raw sockets, browsers, kernels."""
