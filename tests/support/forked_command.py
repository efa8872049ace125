"""The client of `support.preloaded` for scripts: it has a program forked, and ends as the program does.

It is run with `-I -S` and imports as little as it can: a script of a page has dozens of commands.
"""

import _socket
import json
import os
import signal
import sys
from array import array

control = _socket.socket(fileno=int(sys.argv[1]))
told, telling = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
request = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
files = array("i", [telling.fileno(), 0, 1, 2])
control.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
telling.close()
pid = int(told.recv(32))
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = os.waitstatus_to_exitcode(int(told.recv(32)))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
