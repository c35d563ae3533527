"""Stands for a kernel: asks the nursery for a forked one, and lives as long as it does. Needs nothing but sockets."""

import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nursery:
        nursery.connect(sys.argv[1])
        nursery.sendall(sys.argv[2].encode() + b"\n")
        while nursery.recv(1):
            pass
