"""The vocabulary and light Rx that everything else is built on; knows no connection."""
