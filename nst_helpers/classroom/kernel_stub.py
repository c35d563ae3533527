"""Stands for a kernel: asks the fork server for one and lives as long as it does. Needs nothing but sockets."""

import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as fork_server:
        fork_server.connect(sys.argv[1])
        fork_server.sendall(sys.argv[2].encode() + b"\n")
        while fork_server.recv(1):
            pass
