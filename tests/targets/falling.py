"""A Python program whose threads fall down and climb up one flight of functions, each of which calls only the next one."""
import sys
import threading

FLIGHT = """
def step_{number}(depth):
    if depth == {number}:
        return depth
    below = step_{next}(depth)
    return below + 1
"""
LAST = 12
names = {}
for number in range(LAST, -1, -1):
    # The call is on the fifth line of each.
    text = FLIGHT.format(number=number, next=number + 1)
    exec(compile(text, f"step_{number}", "exec"), names)


def fall(depth):
    step = names["step_0"]
    while True:
        step(depth % LAST)
        # A callback that C makes.
        sorted([depth % LAST, 1], key=step)
        depth += 1


for number in range(3):
    threading.Thread(target=fall, args=(number,), daemon=True).start()
print("ready python=1", flush=True)
sys.stdin.read()
