"""A Python program that forks: the child tells its id and waits."""
import os
import sys


def in_child():
    print(f"fact child {os.getpid()}")
    print("ready python=1", flush=True), sys.stdin.read()


if os.fork() == 0:
    in_child()
else:
    os.wait()
