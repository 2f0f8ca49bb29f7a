"""A server of fixed-length messages, one client at a time: a peer for the tests.

usage: peer_server.py COUNT

Listens on a free port of 127.0.0.1, prints it, answers COUNT clients and ends.
What it prints is what bothends server prints.
"""
import socket
import sys

SIZE = 16


def read_exactly(conn, size):
    """Return size octets, or raise EOFError with the count."""
    parts = []
    missing = size
    while missing:
        part = conn.recv(missing)
        if not part:
            raise EOFError(f"socket closed {size - missing} bytes into a {size}-byte message")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(int(sys.argv[1])):
            print("Listening at", listener.getsockname(), flush=True)
            conn, name = listener.accept()
            with conn:
                print("We have accepted a connection from", name)
                print("Socket connects", conn.getsockname(), "and", conn.getpeername())
                message = read_exactly(conn, SIZE)
                print("The incoming sixteen-octet message says", ascii(message.decode("latin-1")))
                conn.sendall(b"Farewell, client")
            print("Reply sent, socket closed", flush=True)


main()
