"""Tries, from within the jail, what an engine taken over by a script could try. Not a test: the tests run it.

    python -I -S jail_probe.py WORKER_PY CANARY_FILE PORT

Writes one line for each attempt to the socket that is its standard input: its name, and what came of it.
"""

import _socket
import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType

worker_path, canary, port = sys.argv[1:]
loader = SourceFileLoader("worker", worker_path)
worker = ModuleType("worker")
exec(compile(loader.get_data(worker_path), worker_path, "exec"), worker.__dict__)
libc = ctypes.CDLL(None, use_errno=True)
server = os.getppid()

jail = worker._Jail()
lacking = jail.enter()
fork_server = os.getpid()


def attempt(name: str, call: Callable[[], object]) -> None:
    try:
        result = call()
    except OSError as error:
        said = f"refused {error.errno}"
    except BaseException as error:
        said = f"refused {type(error).__name__}"
    else:
        said = f"refused {ctypes.get_errno()}" if result == -1 else "done"
    os.write(0, f"{name}: {said}\n".encode())


def more_memory() -> object:
    return bytearray(1024 * 1024 * 1024) and 0


pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    os._exit(0)
jail.close()
os.write(0, f"lacking: {lacking or 'nothing'}\n".encode())
with contextlib.suppress(BaseException):
    attempt("open a file", lambda: os.open(canary, os.O_RDONLY))
    attempt("open the process's environment", lambda: os.open(f"/proc/{server}/environ", os.O_RDONLY))
    attempt("list a directory", lambda: os.listdir("/"))
    attempt("write a file", lambda: os.open("/tmp/written-from-the-jail", os.O_WRONLY | os.O_CREAT))
    attempt("delete a file", lambda: os.unlink(canary))
    attempt("make a socket", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM))
    attempt("make a pair of sockets", _socket.socketpair)
    attempt("make a pipe", os.pipe)
    attempt("duplicate a descriptor", lambda: os.dup(0))
    attempt("fork", lambda: os.fork() or os._exit(0))
    attempt("execute a program", lambda: os.execve("/bin/true", ["/bin/true"], {}))
    attempt("kill the server", lambda: os.kill(server, 0))
    attempt("kill the fork server", lambda: os.kill(fork_server, 0))
    attempt("kill all", lambda: os.kill(-1, 0))
    attempt("trace the server", lambda: libc.ptrace(16, server, 0, 0))
    attempt("read the server's memory", lambda: libc.process_vm_readv(server, 0, 0, 0, 0, 0))
    attempt("become root", lambda: os.setuid(0))
    attempt("change the root", lambda: os.chroot("/"))
    attempt("mount", lambda: libc.mount(b"none", b"/mnt", b"tmpfs", 0, 0))
    attempt("a new namespace", lambda: libc.unshare(0x10000000))
    attempt("raise a limit", lambda: libc.setrlimit(7, (100).to_bytes(8, "little") * 2))
    attempt("drop the filter", lambda: libc.prctl(22, 0, 0, 0, 0))
    attempt("executable memory", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC))
    attempt("load a kernel module", lambda: libc.syscall(175, 0, 0, 0))
    attempt("io_uring", lambda: libc.syscall(425, 1, 0))
    attempt("open by the other table of calls", lambda: libc.syscall(0x40000002, canary.encode(), 0))
    attempt("more memory than allowed", more_memory)
os._exit(0)
