"""A client as it is often written: it takes what one recv() gives for the reply."""

import socket
import sys

sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.sendall(b"Hi there, server")
print("The server said", sock.recv(16))
