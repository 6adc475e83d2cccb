"""The subset of Centrifugo's client protocol (JSON) that hubs use, as pure data.

A frame holds one JSON object a line. A client sends commands, a server sends replies, pushes and
pings. The schema is `client.proto` of github.com/centrifugal/protocol.
"""
