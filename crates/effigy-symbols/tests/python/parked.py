"""Parks threads in stacks of every kind, and says on one line, as JSON, what each of them runs.

A thread parks on a line that first says that it has come and then waits, so what it is at no longer changes.
"""
import asyncio
import functools
import json
import os
import sys
import threading

come = threading.Semaphore(0)
waits_for, _kept_open = os.pipe()


def hold(*_):
    return come.release(), os.read(waits_for, 1)


def größe(value):
    return [hold(item) for item in [value]]


class Ring:
    łąka = "a name of two bytes a character"

    @classmethod
    def of_class(cls, value):
        return cls().method(value)

    def method(self, value):
        return sorted(
            [value, 1],
            key=lambda item: (
                # A callback that C makes, in an expression that goes back to earlier lines.
                self.called(
                    item,
                )
            ),
        )

    def called(self, value):
        def łąka(inner):
            return größe(inner)

        return łąka(value)

    def __getattr__(self, name):
        return hold(name)

    def __lt__(self, other):
        return functools.reduce(lambda a, b: self.missing, [1, 2])


def numbers(depth):
    if depth == 0:
        yield hold()
    yield from numbers(depth - 1)


def generate():
    for number in numbers(3):
        print(number)


def recurse(depth):
    if depth:
        return recurse(depth - 1)
    return max(Ring(), Ring())


async def awaited(depth):
    if depth:
        return await awaited(depth - 1)
    return hold()


async def gathered():
    await asyncio.gather(awaited(2))


class Dying:
    def __del__(self):
        hold()


def finalise():
    kept = Dying()
    return None


FAR = "\n" * 70000 + """
def far(value):
    return (value,
""" + "\n" * 300 + """
        hold(),
""" + "\n" * 40 + """
        len(value))

far([])
"""


def from_text():
    exec(compile(FAR, "<made up>", "exec"), {"hold": hold})


def describe(frame):
    frames = []
    while frame:
        code = frame.f_code
        frames.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return frames


def told(own):
    stacks = {thread.ident: thread for thread in threading.enumerate()}
    frames = sys._current_frames()
    frames[threading.get_ident()] = own
    return json.dumps([[ident, stacks[ident].native_id, stacks[ident].name, describe(frames[ident])] for ident in stacks])


def main():
    targets = [Ring().of_class, generate, from_text, finalise, lambda *_: recurse(200), lambda: asyncio.run(gathered())]
    for number, target in enumerate(targets):
        arguments = (2,) if number == 0 else ()
        name = getattr(target, "__name__", "")
        threading.Thread(target=target, args=arguments, daemon=True, name=f"{number} {name}").start()
    for _ in targets:
        come.acquire()
    # Both on one line, as in the others.
    print(told(sys._getframe()), flush=True), sys.stdin.read()


main()
