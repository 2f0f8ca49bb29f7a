"""A server as the chapter's: one client after another, and no error handling."""

import socket
import sys


def receive_all(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError(f"socket closed {len(data)} bytes into a {length}-byte message")
        data += more
    return data


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
while True:
    connected, _ = listener.accept()
    receive_all(connected, 16)
    connected.sendall(b"Farewell, client")
    connected.close()
