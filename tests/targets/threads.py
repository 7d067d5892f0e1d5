"""A Python program with threads that wait and one that computes; answers each line on standard input."""
import sys
import threading
import time

MASK = (1 << 64) - 1


def marks(seed, count):
    words = bytearray()
    state = seed
    for _ in range(count):
        state ^= (state << 13) & MASK
        state ^= state >> 7
        state ^= (state << 17) & MASK
        words += state.to_bytes(8, "little")
    return bytes(words)


def wait_for_ever(event):
    event.wait()


def compute(counter):
    while True:
        counter[0] += 1


def main():
    seed = time.time_ns() | 1
    kept = marks(seed, 512)
    counter = [0]
    event = threading.Event()
    for _ in range(4):
        threading.Thread(target=wait_for_ever, args=(event,), daemon=True).start()
    threading.Thread(target=compute, args=(counter,), daemon=True).start()
    time.sleep(0.2)
    print(f"fact mark_seed {seed}")
    print("ready python=1", flush=True)
    for _ in sys.stdin:
        print(f"report counter={counter[0]} kept={len(kept)}", flush=True)
    event.wait()


main()
