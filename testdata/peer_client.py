"""A client of fixed-length messages: a peer for the tests.

usage: peer_client.py PORT [PIECE]

Sends sixteen octets to 127.0.0.1:PORT, PIECE octets at a time (16), and prints
what bothends client prints.
"""
import socket
import sys

SIZE = 16


def main():
    port = int(sys.argv[1])
    piece = int(sys.argv[2]) if len(sys.argv) > 2 else SIZE
    with socket.create_connection(("127.0.0.1", port)) as conn:
        print("Client has been assigned socket name", conn.getsockname())
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = b"Hi there, server"
        for at in range(0, SIZE, piece):
            conn.sendall(message[at:at + piece])
        reply = b""
        while len(reply) < SIZE:
            more = conn.recv(SIZE - len(reply))
            if not more:
                sys.exit(f"socket closed {len(reply)} bytes into a {SIZE}-byte message")
            reply += more
        print("The server said", ascii(reply.decode("latin-1")))


main()
