"""The sample in TypeScript of docs/client.md: its types are right, and it runs."""

from pathlib import Path

from docs.pages import DOCS, blocks
from support.client import Client
from support.node import run_command
from web.interface import TSC_OF_USERS, run


def test_the_sample_is_typed_by_the_file_of_the_server_and_runs(account: Client, tmp_path: Path) -> None:
    account.new_flow("nodes: {a: {type: return}}", name="orders")
    token = account.post("/api/v1/tokens", {"name": "ts", "scopes": ["read"]}).json["token"]
    (text,) = blocks(DOCS / "client.md", "ts")
    sample = tmp_path / "sample.mts"
    sample.write_text(text.replace("http://127.0.0.1:8080", account.url).replace("fr_pat_…", token))
    (tmp_path / "flowrunner-api.d.ts").write_bytes(account.get("/flowrunner-api.d.ts").body)
    wrong = tmp_path / "wrong.mts"
    wrong.write_text(f"{sample.read_text()}// @ts-expect-error\nconsole.log(flows[0]?.nothing);\n")

    run(
        TSC_OF_USERS, "--noEmit", "--strict", "--target", "es2022",
        "--lib", "es2022,dom", "--module", "esnext", "--moduleResolution", "bundler", "--skipDefaultLibCheck",
        sample, wrong,
    )  # fmt: skip
    assert run_command(tmp_path, "node", sample) == "orders\n"
