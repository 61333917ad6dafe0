"""Measures the process pools of CPython.

Takes one argument: how many bytes to touch first. Says when it is ready. Then reads one JSON object
a line: what to measure, of which pool, with how many tasks. Answers each with a line: seconds for a
task, or bytes. All is as it comes: no chunks, the default start method.
"""

import asyncio
import json
import mmap
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 2


def trivial(number):
    return number


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


class Executor:
    """concurrent.futures.ProcessPoolExecutor."""

    def __init__(self, workers):
        self.pool = ProcessPoolExecutor(workers)

    def submit(self, function, argument):
        return self.pool.submit(function, argument)

    @staticmethod
    def wait(future):
        return future.result()

    def close(self):
        self.pool.shutdown()


class Pool:
    """multiprocessing.Pool."""

    def __init__(self, workers):
        self.pool = multiprocessing.Pool(workers)

    def submit(self, function, argument):
        return self.pool.apply_async(function, (argument,))

    @staticmethod
    def wait(result):
        return result.get()

    def close(self):
        self.pool.close()
        self.pool.join()


POOLS = {"executor": Executor, "pool": Pool}


def warm_up(tasks):
    return tasks // 10


def check_sum(total, tasks):
    assert total == tasks * (tasks - 1) // 2


def submit_all(pool, tasks):
    futures = [pool.submit(trivial, number) for number in range(tasks)]
    check_sum(sum(pool.wait(future) for future in futures), tasks)


def submit_each(pool, tasks):
    total = 0
    for number in range(tasks):
        total += pool.wait(pool.submit(trivial, number))
    check_sum(total, tasks)


async def await_each(pool, tasks):
    loop = asyncio.get_running_loop()
    total = 0
    for number in range(tasks):
        total += await loop.run_in_executor(pool.pool, trivial, number)
    check_sum(total, tasks)


def timed(pool, tasks, body):
    worker_pids(pool)
    body(pool, warm_up(tasks))
    start = time.perf_counter()
    body(pool, tasks)
    return (time.perf_counter() - start) / tasks


async def timed_async(pool, tasks):
    await await_each(pool, warm_up(tasks))
    start = time.perf_counter()
    await await_each(pool, tasks)
    return (time.perf_counter() - start) / tasks


def worker_pids(pool):
    """The ids of all workers, each of which has run a task by then."""
    for _ in range(100):
        naps = [pool.submit(nap, 0.03) for _ in range(WORKERS)]
        pids = {pool.wait(future) for future in naps}
        if len(pids) == WORKERS:
            return pids
    raise RuntimeError("not each worker runs a task")


def private_resident_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        lines = [line.split() for line in file]
    names = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line[1]) * 1024 for line in lines if line[0] in names)


def with_workers(make, body):
    pool = make(WORKERS)
    try:
        return body(pool)
    finally:
        pool.close()


def memory(pool):
    pids = worker_pids(pool)
    time.sleep(0.2)
    return sum(map(private_resident_bytes, pids)) / len(pids)


def first_result(make, tasks):
    """Seconds from no pool to the first result."""
    total = 0
    for number in range(tasks):
        start = time.perf_counter()
        pool = make(1)
        value = pool.wait(pool.submit(trivial, number))
        total += time.perf_counter() - start
        assert value == number
        pool.close()
    return total / tasks


MEASUREMENTS = {
    "bulk": lambda make, tasks: with_workers(make, lambda pool: timed(pool, tasks, submit_all)),
    "ping-pong-blocking": lambda make, tasks: with_workers(
        make, lambda pool: timed(pool, tasks, submit_each)
    ),
    "ping-pong": lambda make, tasks: with_workers(
        make, lambda pool: asyncio.run(timed_async(pool, tasks))
    ),
    "worker-memory": lambda make, tasks: with_workers(make, memory),
    "first-result": first_result,
}


def touched(size):
    """Touched pages of the usual size, private to this process."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    pages = range(0, size, mmap.PAGESIZE)
    memory[:: mmap.PAGESIZE] = b"\1" * len(pages)
    return memory


def main():
    # Held until the end, and never looked at again.
    ballast = touched(int(sys.argv[1])) if int(sys.argv[1]) else None
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        measure = MEASUREMENTS[request["measurement"]]
        value = measure(POOLS[request["pool"]], request["tasks"])
        print(json.dumps(value), flush=True)
    del ballast


if __name__ == "__main__":
    main()
