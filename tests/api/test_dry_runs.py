"""Dry runs: each is refused as the change itself would be, and changes nothing."""

from pathlib import Path
from typing import Any, Final

from security.two_accounts import RETURN, ApiClient, two_accounts_at
from support.databases import rows_of

OTHER: Final = RETURN + "\n# 2"
LOOP: Final = "triggers: {t: {type: execution, flow: first}}\n" + RETURN
# Requests about a flow that is there, or is not, and that cannot be fulfilled.
REFUSED: Final[tuple[tuple[str, str, Any, dict[str, str]], ...]] = (
    ("POST", "/flows", {"name": "x", "definition": "nodes: {}"}, {}),
    ("POST", "/flows", {"name": "\u202e", "definition": RETURN}, {}),
    ("PUT", "/flows/none", {"description": "x"}, {}),
    ("PUT", "/flows/{first}", {"definition": LOOP}, {}),
    ("PUT", "/flows/{first}", {"description": "x"}, {"If_Match": '"1.1"'}),
    ("PUT", "/flows/by-name/first", {"definition": "nodes: {}"}, {}),
    ("PUT", "/flows/by-name/third", {"definition": RETURN}, {"If_Match": "*"}),
    ("DELETE", "/flows/none", None, {}),
    ("DELETE", "/flows/{first}", None, {"If_Match": '"1.1"'}),
    ("POST", "/flows/none/copy", {}, {}),
    ("POST", "/flows/{first}/copy", {"workspace": "none"}, {}),
    ("POST", "/flows/{first}/move", {"workspace": "none"}, {}),
    ("POST", "/flows/none/move", {"workspace": "none"}, {}),
    ("POST", "/flows/{first}/revisions/9/restore", None, {}),
    ("DELETE", "/flows/{first}/revisions/9", None, {}),
    ("DELETE", "/flows/{first}/revisions/2", None, {}),
    ("PUT", "/flows/none/retention", {"max_count": 1}, {}),
    ("PUT", "/workspaces/none/retention", {"max_count": 1}, {}),
    ("PUT", "/workspaces/{team}", {"slug": "taken-by-others"}, {}),
    ("PUT", "/workspaces/{team}", {"name": "\n"}, {}),
    ("POST", "/flows:batch", {"flows": [{"name": "first", "definition": "nodes: {}"}]}, {}),
    ("POST", "/flows:batch", {"flows": [{"name": "first", "definition": RETURN}], "delete": ["{first}"]}, {}),
    ("POST", "/triggers/none/backfill", {"from": "2026-01-01", "to": "2026-01-02"}, {}),
)  # fmt: skip


async def test_a_dry_run_is_refused_as_the_change_would_be_and_changes_nothing(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        ids = {"first": await accounts.mara.flow(RETURN)}
        renamed = {"name": "first", "definition": OTHER}
        await accounts.mara.request("PUT", f"/api/v1/flows/{ids['first']}", renamed)
        await accounts.mara.request("POST", "/api/v1/flows", {"name": "second", "definition": RETURN})
        await accounts.omar.request("POST", "/api/v1/workspaces", {"name": "T", "slug": "taken-by-others"})
        made = await accounts.mara.request("POST", "/api/v1/workspaces", {"name": "Team"})
        ids["team"] = made.json["id"]
        before = rows_of(tmp_path / "flowrunner.db", "SELECT count(*) FROM audit")
        differing = []
        for method, place, body, headers in REFUSED:
            path, sent = f"/api/v1{place.format(**ids)}", filled(body, ids)
            dry, real = [
                await accounts.mara.request(method, f"{path}{query}", sent, **headers)
                for query in ("?dry_run=true", "")
            ]
            told = [(reply.status, reply.json.get("error", {}).get("message")) for reply in (dry, real)]
            if told[0] != told[1] or dry.status < 400:
                differing.append((method, place, *told))

        assert differing == []
        assert rows_of(tmp_path / "flowrunner.db", "SELECT count(*) FROM audit") == before


def filled(body: Any, ids: dict[str, str]) -> Any:
    if isinstance(body, dict) and "delete" in body:
        return body | {"delete": [id.format(**ids) for id in body["delete"]]}
    return body


async def test_s20_a_dry_run_shows_a_definition_to_those_who_may_read_it_alone(tmp_path: Path) -> None:
    definition = "nodes: {a: {type: return, params: {value: only for readers}}}"
    other = {"definition": RETURN}
    async with two_accounts_at(tmp_path) as accounts:
        flow = await accounts.mara.flow(definition)
        assert (await accounts.mara.request("PUT", f"/api/v1/flows/{flow}", other)).status == 200
        assert (await accounts.mara.request("PUT", f"/api/v1/flows/{flow}", {"definition": definition})).status == 200
        requests: tuple[tuple[str, str, Any], ...] = (
            ("PUT", f"/api/v1/flows/{flow}", other),
            ("PUT", "/api/v1/flows/by-name/F", other),
            ("POST", f"/api/v1/flows/{flow}/copy", {}),
            ("POST", f"/api/v1/flows/{flow}/revisions/2/restore", None),
            ("POST", "/api/v1/flows:batch", {"flows": [{"name": "F", **other}]}),
        )
        seen = {}
        for scopes in (("write",), ("read", "write")):
            made = await accounts.mara.request("POST", "/api/v1/tokens", {"name": "t", "scopes": list(scopes)})
            token = ApiClient(accounts.app, made.json["token"])
            replies = [await token.request(method, f"{path}?dry_run=true", body) for method, path, body in requests]
            seen[scopes] = [(reply.status, b"only for readers" in reply.body) for reply in replies]

    assert seen == {("write",): [(403, False)] * 5, ("read", "write"): [(200, True)] * 5}


async def test_a_dry_run_of_a_creation_needs_what_the_creation_does(tmp_path: Path) -> None:
    requests: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/api/v1/flows", {"name": "F", "definition": RETURN}),
        ("PUT", "/api/v1/flows/by-name/F", {"definition": RETURN}),
        ("POST", "/api/v1/flows:batch", {"flows": [{"name": "F", "definition": RETURN}]}),
    )
    async with two_accounts_at(tmp_path) as accounts:
        made = await accounts.mara.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["write"]})
        token = ApiClient(accounts.app, made.json["token"])
        replies = [await token.request(method, f"{path}?dry_run=true", body) for method, path, body in requests]

    assert [reply.status for reply in replies] == [200] * 3
