"""CPython's multiprocessing, measured as the Rust rows are. Started as `python3 - bench impl ..`."""

import json
import multiprocessing as mp
import sys
import time

BENCH, IMPL = sys.argv[1:3]
WORDS = sys.argv[3:]
PARAMETERS = {key.removeprefix("--"): value for key, value in zip(WORDS[::2], WORDS[1::2])}


def number(key, default):
    return int(PARAMETERS.get(key, default))


def emit(metric, value, unit):
    print(json.dumps({"bench": BENCH, "impl": IMPL, "metric": metric, "value": value,
                      "unit": unit, **PARAMETERS}))


def unsupported(why):
    print(f"unsupported: {BENCH} {IMPL}: {why}", file=sys.stderr)
    sys.exit(3)


def quantiles(metric, nanos):
    nanos.sort()
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        emit(f"{metric}_{name}", nanos[int((len(nanos) - 1) * part)], "ns")


def start():
    """Functions of a script without a file cannot be found by the other methods."""
    method = IMPL.removeprefix("cpython-")
    if method not in ("fork", "forkserver"):
        unsupported("cpython-fork, cpython-forkserver")
    context = mp.get_context(method)
    ballast = bytearray(number("ballast", 0) << 20)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    nanos = []
    for _ in range(number("reps", 200) // 10 + 3):
        began = time.perf_counter_ns()
        # `time.time` stands for nothing to do: found in any process.
        process = context.Process(target=time.time)
        process.start()
        process.join()
        nanos.append(time.perf_counter_ns() - began)
    quantiles("start_join", nanos[2:])


def lock():
    it = mp.get_context("fork").Lock()
    count = 300_000
    began = time.perf_counter_ns()
    for _ in range(count):
        with it:
            pass
    emit("ns_per_op", (time.perf_counter_ns() - began) / count, "ns")


def meet(barrier, rounds, times):
    for _ in range(50):
        barrier.wait()
    began = time.perf_counter_ns()
    for _ in range(rounds):
        barrier.wait()
    times.put(time.perf_counter_ns() - began)


def barrier():
    context = mp.get_context("fork")
    parties, rounds = number("parties", 4), number("rounds", 2_000)
    it, times = context.Barrier(parties), context.SimpleQueue()
    processes = [context.Process(target=meet, args=(it, rounds, times)) for _ in range(parties)]
    for process in processes:
        process.start()
    longest = max(times.get() for _ in processes)
    for process in processes:
        process.join()
    emit("ns_per_round", longest / rounds, "ns")


def consume(queue, count):
    for _ in range(count):
        queue.get()


def oneway():
    if number("producers", 1) != 1 or number("consumers", 1) != 1:
        unsupported("one producer, one consumer")
    context = mp.get_context("fork")
    queue = context.Queue(1024)
    size, count = number("size", 64), 20_000
    count = max(20, min(count, (64 << 20) // size))
    message = bytes(size)
    process = context.Process(target=consume, args=(queue, count + 1))
    process.start()
    queue.put(message)
    began = time.perf_counter()
    for _ in range(count):
        queue.put(message)
    process.join()
    took = time.perf_counter() - began
    emit("msgs_per_s", count / took, "1/s")
    emit("mib_per_s", count * size / took / (1 << 20), "MiB/s")


def following(n):
    return n + 1


def burn(nanos):
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < nanos:
        pass
    return nanos


def same(block):
    return block


def pool(workers=None):
    return mp.get_context("fork").Pool(number("workers", workers or mp.cpu_count()))


def tasks_took(tasks, seconds):
    emit("seconds", seconds, "s")
    emit("us_per_task", seconds * 1e6 / tasks, "us")


def pool_trivial():
    tasks = number("tasks", 100_000)
    with pool() as workers:
        if number("one-by-one", 0):
            run = lambda count: sum(workers.imap_unordered(following, range(count)))
        else:
            run = lambda count: sum(workers.map(following, range(count)))
        run(tasks // 10)
        began = time.perf_counter()
        total = run(tasks)
        took = time.perf_counter() - began
    assert total == tasks * (tasks + 1) // 2
    tasks_took(tasks, took)


def pool_apply():
    nanos = []
    with pool() as workers:
        workers.map(following, range(100))
        for n in range(number("reps", 2_000) // 4 + 1):
            time.sleep(number("pause", 0) / 1e6)
            began = time.perf_counter_ns()
            assert workers.apply(following, (n,)) == n + 1
            nanos.append(time.perf_counter_ns() - began)
    nanos.sort()
    emit("apply_p50", nanos[len(nanos) // 2], "ns")


def pool_cpu():
    tasks, long = number("tasks", 64), 50_000_000
    with pool() as workers:
        workers.map(following, range(100))
        began = time.perf_counter()
        workers.map(burn, [long] * tasks, chunksize=1)
        took = time.perf_counter() - began
    ideal = long / 1e9 * tasks / number("workers", mp.cpu_count())
    emit("over_ideal", took / ideal, "")
    tasks_took(tasks, took)


def pool_mib():
    tasks = number("tasks", 200)
    blocks = [bytes([n % 256]) * (1 << 20) for n in range(tasks)]
    with pool() as workers:
        workers.map(same, blocks[:8], chunksize=1)
        began = time.perf_counter()
        results = workers.map(same, blocks, chunksize=1)
        took = time.perf_counter() - began
    assert results == blocks
    tasks_took(tasks, took)


def pool_seed():
    tasks = number("tasks", 100)
    began = time.perf_counter()
    with pool(5) as workers:
        assert len(workers.map(following, range(tasks))) == tasks
        workers.close()
        workers.join()
    emit("seconds", time.perf_counter() - began, "s")


ROWS = {"start": start, "lock": lock, "barrier": barrier, "oneway": oneway,
        "pool-trivial": pool_trivial, "pool-apply": pool_apply, "pool-cpu": pool_cpu,
        "pool-mib": pool_mib, "pool-seed": pool_seed}
if __name__ == "__main__":
    ROWS.get(BENCH, lambda: unsupported(", ".join(ROWS)))()
