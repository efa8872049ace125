"""E-mails of a server that ends before it has sent them."""

import socket
import threading
import time
from pathlib import Path
from typing import Final

from support.client import PASSWORD, Client
from support.mailbox import open_mailbox, scripted_mail_server, text_of
from support.networks import unused_port
from support.server import Server


def test_an_invitation_is_mailed_once_after_a_kill_between_its_commit_and_the_e_mail(tmp_path: Path) -> None:
    # Nothing listens there yet, so that nothing is sent before the kill.
    port = unused_port()
    server = Server(
        tmp_path,
        {
            "SMTP_URL": f"smtp://127.0.0.1:{port}?from=flows@example.com",
            "PUBLIC_URL": "https://flows.example.com",
            "ALLOWED_HOSTS": "localhost",
        },
    )
    try:
        admin = server.start().admin()
        workspace = admin.post("/api/v1/workspaces", {"name": "Team", "slug": "team"}).json["id"]
        body = {"email": "kim@example.com", "role": "viewer"}
        invitation = admin.post(f"/api/v1/workspaces/{workspace}/invitations", body).json
        server.kill()
        token = invitation["link"].partition("#")[2]
        stored = b"".join(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
        assert b"invites you to the workspace" in stored
        assert token.encode() not in stored

        with open_mailbox(port) as (mailbox, _):
            server.start()
            message = mailbox.wait_for("kim@example.com")
            mailed = text_of(message).rpartition("#")[2].strip()
            assert mailed.startswith(f"{token}.")
            made = Client(server.client().url).post(
                "/api/v1/invitations/sign-up", {"token": mailed, "name": "Kim", "password": PASSWORD}
            )
            assert made.status == 201
            assert len(mailbox.to("kim@example.com")) == 1
    finally:
        server.stop()


# Less than the time for which an e-mail may take.
STOP_SECONDS: Final = 20.0


def test_a_mail_server_that_goes_on_greeting_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    is_greeting = threading.Event()

    def greet(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"220-Welcome\r\n")
            is_greeting.set()
            time.sleep(1.0)

    with scripted_mail_server(greet) as port:
        settings = {"SMTP_URL": f"smtp://127.0.0.1:{port}", "PUBLIC_URL": "https://flows.example.com"}
        server = Server(tmp_path, settings | {"ALLOWED_HOSTS": "localhost"})
        try:
            admin = server.start().admin()
            workspace = admin.post("/api/v1/workspaces", {"name": "Team", "slug": "team"}).json["id"]
            admin.post(f"/api/v1/workspaces/{workspace}/invitations", {"email": "kim@example.com", "role": "viewer"})
            assert is_greeting.wait(STOP_SECONDS)

            server.terminate()

            assert server.wait(STOP_SECONDS) == 0
        finally:
            server.stop()
