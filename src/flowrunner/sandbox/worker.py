"""The processes in the jail: a fork server, and its workers, which evaluate JavaScript.

Started as `python -I -S worker.py ENGINE PRELUDE LAZY_RUNTIME`, with a control socket as its only file. It imports
nothing of FlowRunner, and nothing at all once it is jailed. The program is one module, because an isolated interpreter
finds no other one beside it.

The fork server never receives a script. It receives messages of five bytes, a letter and the number of a worker:

    F   fork a worker, which serves the socket that comes with the message
    K   kill the worker

A worker receives requests and sends answers. Both are preceded by their length in four bytes, little-endian. A request
is a letter (`E`: evaluate, `T`: evaluate at the time that follows, in milliseconds since 1970 as eight signed bytes,
`C`: check), the number of scripts, each script (`e`: expression, `b`: body) with the length of its UTF-8 text, and then
the scope as a JSON text. Answers are JSON objects, one for each script in order.
"""

import os
import resource
import sys
import time
from typing import Any, Final, NoReturn

ENGINE_SECONDS: Final = 1.0
MEMORY_BYTES: Final = 64 * 1024 * 1024
OUTPUT_BYTES: Final = 1024 * 1024
MAX_LINES: Final = 1000
# Characters of the lines as JSON.
MAX_LINE_TEXT: Final = 1024 * 1024
MAX_REQUEST: Final = 32 * 1024 * 1024

# Memory beyond the engine's heap, for the texts of requests and answers.
_BESIDE_THE_HEAP: Final = 192 * 1024 * 1024
_JS_STACK: Final = 1024 * 1024
_C_STACK: Final = 8 * 1024 * 1024
_MOST_FILES: Final = 64
# Maximum time for which finished answers are held back, so that they are known if the worker is killed.
_HOLD_BACK_SECONDS: Final = 0.02

_INTERRUPTED: Final = "InternalError: interrupted"
_OUT_OF_MEMORY: Final = "InternalError: out of memory"
_CAUGHT_NULL: Final = '"fault":"null"'
_CAUGHT_OUT_OF_MEMORY: Final = f'"fault":"{_OUT_OF_MEMORY}"'
_TOO_LONG: Final = f"the scripts of one evaluation took longer than {ENGINE_SECONDS:g} s"
_TOO_BIG: Final = f"a script needs more than {MEMORY_BYTES // 1024 // 1024} MB"
_TOO_MUCH: Final = (
    f"this value of %d bytes brings those of one evaluation above {OUTPUT_BYTES // 1024 // 1024} MB as JSON."
    " Give only the part that is needed; a loop gathers parts with 'collect'"
)
# Parts of names that need the lazy runtime, such as `Map`, `Set` and `toLocaleString`.
_NEEDS_LAZY_RUNTIME: Final = ("Map", "Set", "ocale")
_PENDING: Final = "the promise is still pending and nothing is left that could settle it"

# All prefixes are padded to this length, so that columns of the first line are shifted by a constant.
PREFIX: Final = 27
_WRAPPINGS: Final = {
    (b"e", False): ("()=>(", "\n)"),
    (b"e", True): ("async()=>(", "\n)"),
    (b"b", False): ("(function(){", "\n})"),
    (b"b", True): ("(async function(){", "\n})"),
}
# A source that closes the brackets of one wrapping early fails in the other.
_OTHER_WRAPPINGS: Final = {
    (b"e", False): ("()=>[", "\n]"),
    (b"e", True): ("async()=>[", "\n]"),
    (b"b", False): ("(function(){{", "\n}})"),
    (b"b", True): ("(async function(){{", "\n}})"),
}


def main(engine_path: str, prelude_path: str, lazy_runtime_path: str) -> NoReturn:
    import _socket

    _close_all_but_the_first_three()
    control = _socket.socket(fileno=0)
    try:
        engine = _load(engine_path)
        with open(prelude_path, encoding="utf-8") as prelude, open(lazy_runtime_path, encoding="utf-8") as lazy_runtime:
            texts = prelude.read(), lazy_runtime.read()
        jail = _Jail()
        notes = jail.enter()
    except Exception as error:
        os.write(0, f"failed {type(error).__name__}: {error}\n".encode())
        os._exit(1)
    try:
        os.write(0, f"ready {notes}\n".encode())
        _ForkServer(control, jail, engine, texts).serve()
    finally:
        os._exit(1)


def _close_all_but_the_first_three() -> None:
    """Close files inherited from the server, whose number depends on how it starts processes."""
    try:
        inherited = [int(fd) for fd in os.listdir("/dev/fd")]
    except OSError:
        os.closerange(3, 65536)
        return
    for fd in inherited:
        if fd > 2:
            try:
                os.close(fd)
            except OSError:
                # The descriptor of the directory itself.
                continue


def _load(path: str) -> Any:
    """Load only the engine's extension module, without a search and without its package."""
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    loader = ExtensionFileLoader("_quickjs", path)
    module = loader.create_module(ModuleSpec("_quickjs", loader, origin=path))
    loader.exec_module(module)
    return module


class _ForkServer:
    def __init__(self, control: Any, jail: "_Jail", engine: Any, texts: tuple[str, str]) -> None:
        self._control = control
        self._jail = jail
        self._engine = engine
        self._texts = texts
        self._pids: dict[int, int] = {}

    def serve(self) -> NoReturn:
        while True:
            message, ancillary, _, _ = self._control.recvmsg(5, 64)
            if len(message) < 5:
                # The server has ended.
                for number in list(self._pids):
                    self._kill(number)
                os._exit(0)
            number = int.from_bytes(message[1:], "little")
            if message[:1] == b"K":
                self._kill(number)
                continue
            fd = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            pid = os.fork()
            if pid == 0:
                self._become_worker(fd)
            os.close(fd)
            self._pids[number] = pid

    def _kill(self, number: int) -> None:
        pid = self._pids.pop(number, None)
        if pid is not None:
            # The process was not reaped yet, so the pid cannot belong to another one.
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    def _become_worker(self, fd: int) -> NoReturn:
        try:
            # Replaces the control socket.
            os.dup2(fd, 0)
            os.closerange(1, _MOST_FILES)
            self._jail.close()
            _Worker(self._engine, *self._texts).serve()
        finally:
            os._exit(1)


class _Worker:
    def __init__(self, engine: Any, prelude: str, lazy_runtime: str) -> None:
        self._engine = engine
        self._prelude = prelude
        self._lazy_runtime = lazy_runtime
        self._held = bytearray()
        self._held_since = 0.0
        self._usual_kilobytes = _peak_kilobytes()

    def serve(self) -> NoReturn:
        while True:
            # Created before a request arrives, to save time.
            ready = self._context()
            size = int.from_bytes(_read(4), "little")
            if size > MAX_REQUEST:
                os._exit(1)
            # Freed only after the answer was sent.
            last = self._answer(_read(size), ready)
            self._flush()
            del ready, last

    def _context(self) -> tuple[Any, Any]:
        context = self._engine.Context()
        context.set_memory_limit(MEMORY_BYTES)
        context.set_max_stack_size(_JS_STACK)
        return context, context.eval(self._prelude)(self._lazy_runtime)

    def _answer(self, request: bytes, ready: tuple[Any, Any] | None) -> "_Script | None":
        self._held_since = time.monotonic()
        # The engine counts processor time too: a pause of the machine makes no script fail.
        deadline = time.process_time() + ENGINE_SECONDS
        evaluating = request[:1] != b"C"
        scripts = []
        at, now = 1, ""
        if request[:1] == b"T":
            at, now = 9, str(int.from_bytes(request[1:9], "little", signed=True))
        count = int.from_bytes(request[at : at + 4], "little")
        at += 4
        for _ in range(count):
            end = at + 5 + int.from_bytes(request[at + 1 : at + 5], "little")
            scripts.append((request[at : at + 1], request[at + 5 : end].decode()))
            at = end
        scope = request[at:].decode()
        bytes_left, lines, text = OUTPUT_BYTES, MAX_LINES, MAX_LINE_TEXT
        script = None
        for kind, source in scripts:
            # Checked scripts are not run, so one context is enough for all of them.
            if script is None or evaluating:
                script = _Script(
                    self._engine, *(ready or self._context()), deadline=deadline, usual_kilobytes=self._usual_kilobytes
                )
                ready = None
            if evaluating:
                script.evaluate(kind, source, scope, (lines, text), now)
            else:
                script.check(kind, source)
            answer = script.answer.encode()
            bytes_left -= len(answer)
            lines -= script.line_count
            text -= len(script.lines)
            if bytes_left < 0:
                answer = _fault(_TOO_MUCH % len(answer), limit="output").encode()
            self._put(b'{%b,"lines":[%b]}' % (answer, script.lines.encode()))
            if script.limit:
                # The engine's state may be corrupt, so it is not even freed.
                self._flush()
                os._exit(0)
        return script

    def _put(self, answer: bytes) -> None:
        self._held += len(answer).to_bytes(4, "little")
        self._held += answer
        if time.monotonic() - self._held_since > _HOLD_BACK_SECONDS:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(self._held)
        while view:
            view = view[os.write(0, view) :]
        self._held = bytearray()
        self._held_since = time.monotonic()


def _peak_kilobytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


class _Script:
    """One script in a context of its own.

    Attributes:
        answer: Members of a JSON object.
        limit: The exceeded limit, if the worker must end because of it.

    Args:
        deadline: The processor time of this process at which it is too late.
    """

    def __init__(self, engine: Any, context: Any, do: Any, *, deadline: float, usual_kilobytes: int) -> None:
        self._engine = engine
        self._context = context
        self._do = do
        self._deadline = deadline
        self._usual_kilobytes = usual_kilobytes
        self.answer = ""
        self.limit: str | None = None
        self.lines = ""
        self.line_count = 0

    def evaluate(self, kind: bytes, source: str, scope: str, room: tuple[int, int], now: str) -> None:
        """Args: room: The number of lines that are kept, and of their characters."""
        before, after = _WRAPPINGS[kind, "await" in source]
        prepared = now if now or any(word in source for word in _NEEDS_LAZY_RUNTIME) else None
        try:
            answer = self._call(self._do, "", scope, f"{before:>{PREFIX}}{source}{after}", *room, prepared)
            if answer is None:
                while self._call(self._context.execute_pending_job):
                    pass
                answer = self._call(self._do, "settled")
            # Without memory for an error object, the engine throws null, or leaves a promise pending.
            if answer is None or answer.startswith(_CAUGHT_NULL):
                if self._has_grown():
                    raise MemoryError
            elif answer.startswith(_CAUGHT_OUT_OF_MEMORY):
                raise MemoryError
            self.answer = answer or _fault(_PENDING)
            if now and self._call(self._do, "drawn"):
                self.answer += ',"has_drawn":true'
        except Exception as error:
            self._fail(error)
        self._take_lines()

    def check(self, kind: bytes, source: str) -> None:
        is_async = "await" in source
        try:
            for wrappings in (_WRAPPINGS, _OTHER_WRAPPINGS):
                before, after = wrappings[kind, is_async]
                # Throws before any other code of the script runs.
                answer = self._call(self._do, "check", f"{'throw 0;' + before:>{PREFIX}}{source}{after}")
                if answer is not None:
                    break
            self.answer = answer or '"value":null'
        except Exception as error:
            self._fail(error)

    def _call(self, function: Any, *arguments: Any) -> Any:
        left = self._deadline - time.process_time()
        if left <= 0:
            raise TimeoutError
        self._context.set_time_limit(left)
        return function(*arguments)

    def _fail(self, error: Exception) -> None:
        message = str(error).partition("\n")[0]
        if isinstance(error, TimeoutError) or message == _INTERRUPTED:
            self.limit, message = "time", _TOO_LONG
        elif isinstance(error, MemoryError) or message == _OUT_OF_MEMORY:
            self.limit, message = "memory", _TOO_BIG
        elif not isinstance(error, self._engine.JSException):
            message = f"the script cannot be evaluated ({type(error).__name__})"
        self.answer = _fault(message, limit=self.limit)

    def _has_grown(self) -> bool:
        """Return True if the process has ever been large enough for a script to run out of memory."""
        return _peak_kilobytes() > self._usual_kilobytes + MEMORY_BYTES // 2048

    def _take_lines(self) -> None:
        try:
            self._context.set_time_limit(0.05)
            self.line_count = self._do("count")
            if self.line_count:
                self.lines = self._do("lines")
        except Exception:
            self.lines, self.line_count = "", MAX_LINES


def _fault(message: str, *, limit: str | None = None) -> str:
    # Messages are plain text from this file or from the engine.
    text = "".join(c if c.isprintable() and c not in '"\\' else " " for c in message)
    return f'"fault":"{text}"' + (f',"limit":"{limit}"' if limit else "")


def _read(size: int) -> bytes:
    """Read exactly ``size`` bytes. Ends the process if the server has closed the socket."""
    found = os.read(0, size)
    if len(found) == size:
        return found
    parts = bytearray(found)
    while found and len(parts) < size:
        found = os.read(0, min(size - len(parts), 1024 * 1024))
        parts += found
    if not found:
        os._exit(0)
    return bytes(parts)


class _Jail:
    """The restrictions that the operating system enforces."""

    def __init__(self) -> None:
        self._address_space = 0
        # Imported in advance, because the user of the jail may not be able to read the files.
        self._ctypes: Any = None
        if sys.platform == "linux":
            import ctypes

            self._ctypes = ctypes
            with open("/proc/self/statm") as file:
                self._address_space = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        self._machine = os.uname().machine
        self._prctl: Any = None
        self._filter: Any = None
        self._worker_filter: Any = None
        self._parent = os.getppid()
        self._fork_server = os.getpid()

    def enter(self) -> str:
        """Jail the fork server; return the names of unavailable restrictions."""
        lacking = []
        os.chdir("/")
        os.umask(0o077)
        # Scripts see the same time zone on every machine.
        os.putenv("TZ", "UTC0")
        time.tzset()
        self._limit("RLIMIT_CORE", 0)
        self._limit("RLIMIT_FSIZE", 0)
        self._limit("RLIMIT_STACK", _C_STACK)
        # Limits descriptor numbers, so that a worker can close all of them.
        self._limit("RLIMIT_NOFILE", _MOST_FILES)
        if os.geteuid() == 0 and not _become_nobody():
            lacking.append("user")
        ctypes = self._ctypes
        if ctypes is None:
            return " ".join([*lacking, "seccomp", "no_new_privs"])
        libc = ctypes.CDLL(None, use_errno=True)
        self._prctl = libc.prctl
        self._prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, 9)):
            if self._prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), f"prctl {option}")
        if os.getppid() != self._parent:
            os._exit(0)
        # Drops capabilities that the server may have.
        self._prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        if libc.capset(_CAPABILITIES_HEADER, bytes(24)) != 0:
            raise OSError(ctypes.get_errno(), "capset")
        if self._machine not in _CALLS:
            return " ".join([*lacking, "seccomp"])
        calls = _CALLS[self._machine]
        self._worker_filter = _Filter(ctypes, calls, calls.worker)
        self._filter = _Filter(ctypes, calls, calls.worker + calls.fork_server)
        if not self._apply(self._filter):
            self._worker_filter = None
            lacking.append("seccomp")
        return " ".join(lacking)

    def close(self) -> None:
        """Jail a worker, after the fork."""
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        # The fork server may have ended before the death signal was set.
        if os.getppid() != self._fork_server:
            os._exit(1)
        if self._address_space:
            self._limit("RLIMIT_AS", self._address_space + MEMORY_BYTES + _BESIDE_THE_HEAP)
        self._limit("RLIMIT_NPROC", 0)
        self._limit("RLIMIT_NOFILE", 1)
        if self._worker_filter is not None and not self._apply(self._worker_filter):
            os._exit(1)

    def _limit(self, name: str, most: int) -> None:
        kind = getattr(resource, name, None)
        if kind is None:
            return
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))

    def _apply(self, filter: "_Filter") -> bool:
        return bool(self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter.address, 0, 0) == 0)


def _become_nobody() -> bool:
    # An unused number, so that it owns no files and no processes. In containers that map few numbers: the highest one
    # that all of them map.
    for uid in (0x70000000 + int.from_bytes(os.urandom(3), "little"), 65534):
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError:
            continue
        return True
    return False


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
# Version 3 of the structure, for the calling process.
_CAPABILITIES_HEADER: Final = (0x20080522).to_bytes(4, "little") + bytes(4)
_SECCOMP_MODE_FILTER: Final = 2
_RET_KILL: Final = 0x80000000
_RET_EPERM: Final = 0x00050001
_RET_ALLOW: Final = 0x7FFF0000
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_PROT_EXEC: Final = 4


class _Calls:
    """System call numbers of a machine type.

    Attributes:
        maps: Calls whose third argument may request executable memory, which is rejected.
        worker: Calls that the engine and Python need once they are loaded.
        fork_server: Further calls that forking needs.
    """

    def __init__(self, arch: int, maps: tuple[int, ...], worker: tuple[int, ...], fork_server: tuple[int, ...]) -> None:
        self.arch = arch
        self.maps = maps
        self.worker = worker
        self.fork_server = fork_server


_CALLS: Final = {
    "x86_64": _Calls(
        0xC000003E,
        # mmap mprotect
        (9, 10),
        # read write close fstat poll lseek munmap brk rt_sigaction rt_sigprocmask rt_sigreturn sched_yield mremap
        # madvise getpid exit gettimeofday getrusage times sigaltstack gettid time futex restart_syscall clock_gettime
        # clock_getres clock_nanosleep exit_group ppoll set_robust_list getrandom rseq
        (0, 1, 3, 5, 7, 8, 11, 12, 13, 14, 15, 24, 25, 28, 39, 60, 96, 98, 100, 131, 186, 201, 202, 219, 228, 229, 230,
         231, 271, 273, 318, 334),
        # dup dup2 recvmsg clone fork vfork wait4 kill fcntl getppid prctl getrlimit setrlimit dup3 prlimit64 clone3
        # close_range
        (32, 33, 47, 56, 57, 58, 61, 62, 72, 97, 110, 157, 160, 292, 302, 435, 436),
    ),
    "aarch64": _Calls(
        0xC00000B7,
        (222, 226),
        (63, 64, 57, 80, 62, 215, 214, 134, 135, 139, 124, 216, 233, 172, 93, 169, 165, 153, 132, 178, 98, 128, 113,
         114, 115, 94, 73, 99, 278, 293),
        (23, 24, 212, 220, 260, 129, 25, 173, 167, 163, 164, 261, 435, 436),
    ),
}  # fmt: skip


class _Filter:
    """A kernel filter that allows some system calls and rejects all others."""

    def __init__(self, ctypes: Any, calls: _Calls, allowed: tuple[int, ...]) -> None:
        # Offsets in struct seccomp_data: 0 number, 4 architecture, 16 + 8n argument n (low half first).
        head = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, calls.arch), (_RETURN, 0, 0, _RET_KILL), (_LOAD, 0, 0, 0)]
        body = []
        tests = [*((number, 1) for number in calls.maps), *((number, 0) for number in allowed)]
        for index, (number, is_map) in enumerate(tests):
            # Jumps go past the remaining tests, to one of two returns, or to the test of the argument after them.
            left = len(tests) - index - 1
            body.append((_EQUAL, left + (2 if is_map else 1), 0, number))
        tail = [
            (_RETURN, 0, 0, _RET_EPERM),
            (_RETURN, 0, 0, _RET_ALLOW),
            (_LOAD, 0, 0, 32),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _RET_EPERM),
            (_RETURN, 0, 0, _RET_ALLOW),
        ]
        program = b"".join(
            code.to_bytes(2, "little") + bytes((when_true, when_false)) + value.to_bytes(4, "little")
            for code, when_true, when_false, value in [*head, *body, *tail]
        )
        self._program = ctypes.create_string_buffer(program, len(program))
        header = (len(program) // 8).to_bytes(8, "little") + ctypes.addressof(self._program).to_bytes(8, "little")
        self._header = ctypes.create_string_buffer(header, len(header))
        self.address = ctypes.addressof(self._header)


if __name__ == "__main__":
    main(*sys.argv[1:])
