"""A Python program with as many threads as it is told, all of which wait some calls deep."""
import sys
import threading


def wait(ready, stay):
    ready.wait()
    stay.wait()


def deeper(calls, ready, stay):
    if calls == 0:
        return wait(ready, stay)
    return deeper(calls - 1, ready, stay)


def main():
    count = int(sys.argv[1])
    ready = threading.Barrier(count + 1)
    stay = threading.Event()
    for number in range(count):
        threading.Thread(target=deeper, args=(5 + number % 10, ready, stay), daemon=True).start()
    ready.wait()
    print("ready", flush=True)
    sys.stdin.read()


main()
