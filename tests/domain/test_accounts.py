"""Passwords, addresses, and the rights of roles and tokens."""

import contextlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.account import (
    MAX_PASSWORD_CHARACTERS,
    NEVER,
    SCOPES,
    ApiToken,
    Caller,
    Right,
    Role,
    Scope,
    Session,
    Surface,
    authorise,
    check_scopes,
    password_faults,
)
from flowrunner.domain.email_address import normal_email
from flowrunner.domain.errors import Forbidden, SecondFactorMissing
from flowrunner.domain.values import AccountId, SessionId, TokenId, WorkspaceId, personal_workspace
from flowrunner.domain.workspace import Membership
from support.databases import NOON


def codes(password: str, *, email: str = "mara@example.com", name: str = "Mara Lindqvist") -> list[str]:
    return [fault.code for fault in password_faults(password, email=email, name=name)]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "vier-Worte und Zahl 7",
        "x" * 4 + "quietly-falls",
        "パスワードは長いほうが良いです",
        "a b c d e f g h",
        "kestrel over kestrel over ",
        # The one in the examples of the API reference.
        "your-password",
    ],
)
def test_a_long_and_unexpected_password_is_accepted(password: str) -> None:
    assert codes(password) == []


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "too_short"),
        ("elevenchars", "too_short"),
        ("q8!" * 342, "too_long"),
        ("aaaaaaaaaaaa", "too_simple"),
        ("abababababab", "too_simple"),
        ("AaAaAaAaAaAa", "too_simple"),
        ("abcdefghijkl", "too_simple"),
        ("lkjihgfedcba", "too_simple"),
        ("passwordpassword", "too_common"),
        ("password-2024", "too_common"),
        ("welcome12345", "too_common"),
        ("Password1234", "too_common"),
        ("password123456", "too_common"),
        ("admin-987654321", "too_common"),
        ("welcomeadministrator", "too_common"),
        ("FlowRunner77777777!", "too_common"),
        ("administrator1", "too_common"),
        ("1234567890ab", "too_common"),
        ("qwertyuiop12", "too_common"),
        ("flowrunner12", "too_common"),
        ("1qaz2wsx3edc", "too_common"),
        ("Q1W2E3R4T5Y6", "too_common"),
        ("leavemealone", "too_common"),
        ("otters otters ", "too_simple"),
        ("fjord!fjord!fjord!", "too_simple"),
    ],
)
def test_a_password_that_is_easily_guessed_is_rejected(password: str, code: str) -> None:
    assert codes(password) == [code]


@pytest.mark.parametrize(
    ("addition", "found"),
    [
        ("1234", ["too_common"]),
        ("abcd", ["too_common"]),
        ("a1b2c", ["too_common"]),
        ("abcd1", []),
        ("a1b2c3", []),
    ],
)
def test_a_few_characters_beside_a_common_word_are_no_more_than_usual(addition: str, found: list[str]) -> None:
    assert codes(f"password{addition}") == found
    assert codes(f"{addition}password") == found


def test_a_password_made_of_the_account_s_own_words_is_rejected() -> None:
    assert codes("lindqvist.m.1234", email="lindqvist.m@example.com") == ["too_common"]
    assert codes("Mara Lindqvist1") == ["too_common"]
    assert codes("Kim@example.com", email="kim@example.com", name="Kim") == ["too_common"]


def test_a_short_name_does_not_spoil_a_good_password() -> None:
    assert codes("a tale of two otters", email="a@example.com", name="Otto") == []


LETTERS: Final = st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789!. ")
FEW: Final = st.lists(LETTERS, min_size=1, max_size=3)


@given(
    st.lists(LETTERS, min_size=1, max_size=3).flatmap(
        lambda few: st.text(st.sampled_from(few), min_size=12, max_size=60)
    )
)
def test_a_password_of_three_characters_is_rejected_however_long(password: str) -> None:
    assert codes(password)
    assert codes(password.upper())


@given(st.text(LETTERS, min_size=1, max_size=11), st.integers(2, 12))
def test_a_password_that_repeats_a_short_piece_is_rejected(piece: str, times: int) -> None:
    assert codes(piece * times)


@given(st.sampled_from(("password", "welcome", "mara.lind", "Lindqvist")), st.text(LETTERS, max_size=4), st.booleans())
def test_a_word_that_is_easy_to_guess_gets_no_better_by_a_little(word: str, more: str, is_before: bool) -> None:
    password = more + word if is_before else word + more

    assert password_faults(password, email="mara.lind@example.com", name="Lindqvist")


@given(st.text(max_size=1100))
def test_every_password_gets_a_verdict(password: str) -> None:
    faults = password_faults(password, email="mara@example.com", name="Mara")

    assert len(faults) <= 1
    if len(password) < 12 or len(password) > MAX_PASSWORD_CHARACTERS:
        assert faults


@pytest.mark.parametrize(
    ("text", "email"),
    [
        (" Mara@Example.COM ", "mara@example.com"),
        ("root@localhost", "root@localhost"),
        ("cafe\u0301@example.com", "caf\u00e9@example.com"),
        ("\uff4d\uff41\uff52\uff41\uff20example.com\u3000", "mara@example.com"),
        ("o\ufb03ce@example.com", "office@example.com"),
        ("\u212aim@example.com", "kim@example.com"),
        # In lower case, its dot is a mark of its own, which stands behind the one below.
        ("\u0130\u0325nci@example.com", "i\u0325\u0307nci@example.com"),
        ("\u0438\u0432\u0430\u043d@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",) * 2,
        ("\u5c71\u7530\u3055\u3093@\u4f8b.\u30c6\u30b9\u30c8",) * 2,
        ("\uae40\u91d1@\uc608.\ud55c\uad6d",) * 2,
        ("a1+x_y-z@10.example.com",) * 2,
    ],
)
def test_an_address_has_one_form(text: str, email: str) -> None:
    assert normal_email(text) == email


@pytest.mark.parametrize("text", ["", "mara", "@example.com", "mara@", "a b@example.com", "a@b@c", "a\x00@b", "a@b\nc"])
def test_an_invalid_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must be an e-mail address"):
        normal_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "m\u0430ra@example.com", "mar\u03b1@example.com", "mara@ex\u0430mple.com", "\u5c71@example.com",
        "\u0438\u0432\u0430\u043d@example.com", "\u3055\uae40@\u4f8b.\u30c6\u30b9\u30c8",
        "ma\u200bra@example.com", "ma\u202era@example.com", "ma\u00adra@example.com",
        "mara\ue000@example.com", "mara\U00017000@example.com", "mara\u0378@example.com",
    ],
)  # fmt: skip
def test_s66_an_address_that_could_look_like_another_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="letters of one script"):
        normal_email(text)


@given(st.text(max_size=40) | st.text(max_size=20).map(lambda name: f"{name}@example.com"))
def test_the_form_of_an_address_is_stable(text: str) -> None:
    try:
        email = normal_email(text)
    except ValueError:
        return
    assert normal_email(email) == email


# Rights


# A token with the scope `mcp` is good for the MCP server alone, one without it for everything else.
REST_SCOPES: Final = tuple(scope for scope in SCOPES if scope != "mcp")
SURFACES: Final[tuple[Surface, ...]] = ("rest", "mcp")


def caller(role: Role, *scopes: Scope, surface: Surface = "rest") -> Caller:
    """Return a caller; with scopes, a program that uses an API token."""
    credential = ApiToken(TokenId("token-1"), frozenset(scopes)) if scopes else Session(SessionId("s-1"), NOON)
    return Caller(
        account_id=AccountId("account-1"), role=role, credential=credential, expires_at=NEVER, surface=surface
    )


def allowed(caller: Caller) -> set[str]:
    found = set()
    for right in Right:
        with contextlib.suppress(Forbidden):
            authorise(caller, right)
            found.add(right.value)
    return found


@pytest.mark.parametrize(
    ("who", "rights"),
    [
        (caller("viewer"), {"login", "session", "read", "mcp"}),
        (
            caller("user"),
            {
                "login",
                "session",
                "read",
                "run",
                "write",
                "members",
                "account",
                "credentials",
                "tokens",
                "create_workspace",
                "delete_workspace",
                "export",
                "invite",
                "mcp",
            },
        ),
        (caller("admin"), {right.value for right in Right}),
        (caller("user", "read"), {"read"}),
        (caller("user", "run"), {"run"}),
        (caller("user", "write"), {"write"}),
        (caller("user", "members"), {"members"}),
        (caller("admin", "admin"), {"account", "admin"}),
        (caller("admin", "read"), {"read"}),
        (caller("admin", *REST_SCOPES), {"read", "run", "write", "members", "account", "admin"}),
        # Created before the account lost the role.
        (caller("user", *REST_SCOPES), {"read", "run", "write", "members"}),
        (caller("user", "admin"), set()),
        (caller("viewer", *REST_SCOPES), {"read"}),
        (caller("viewer", "write", "run"), set()),
        (caller("user", "mcp", surface="mcp"), {"mcp"}),
        (caller("user", "mcp", "read", "run", "write", surface="mcp"), {"mcp", "read", "run", "write"}),
        (caller("viewer", "mcp", "read", "write", surface="mcp"), {"mcp", "read"}),
        # Each credential is good for one way into the program.
        (caller("admin", *SCOPES), set()),
        (caller("admin", *REST_SCOPES, surface="mcp"), set()),
        (caller("admin", surface="mcp"), set()),
    ],
)
def test_s16_who_may_do_what(who: Caller, rights: set[str]) -> None:
    assert allowed(who) == rights
    assert who.is_admin == ("admin" in rights)


@given(st.sampled_from(["viewer", "user", "admin"]), st.sets(st.sampled_from(SCOPES), min_size=1))
def test_s16_s66_a_token_never_has_more_rights_than_its_account(role: Role, scopes: set[Scope]) -> None:
    at_rest, at_mcp = (allowed(caller(role, *scopes, surface=surface)) for surface in SURFACES)
    assert at_rest | at_mcp < allowed(caller(role))
    assert not (at_rest | at_mcp) & {"login", "session", "tokens", "credentials", "create_account", "invite"}
    assert not (at_mcp if "mcp" not in scopes else at_rest)


@given(st.sets(st.sampled_from(REST_SCOPES)), st.sampled_from(SURFACES))
def test_s16_more_scopes_never_take_a_right_away(scopes: set[Scope], surface: Surface) -> None:
    always: set[Scope] = {"mcp"} if surface == "mcp" else {"read"}
    each = [allowed(caller("admin", *always, scope, surface=surface)) for scope in scopes | always]
    assert allowed(caller("admin", *always, *scopes, surface=surface)) == set().union(*each)


def test_a_refusal_says_what_is_missing() -> None:
    for who, right, message in (
        (caller("user"), Right.ADMIN, "installation role of this account is 'user', and this needs 'admin'"),
        (caller("viewer"), Right.WRITE, "installation role of this account is 'viewer', and this needs 'user'"),
        (caller("user", "read"), Right.RUN, "scope 'run'"),
        (caller("admin", "read"), Right.ADMIN, "scope 'admin'"),
        (caller("user", "read"), Right.TOKENS, "log in"),
        (caller("admin", *REST_SCOPES), Right.CREDENTIALS, "log in"),
        (caller("admin", *REST_SCOPES), Right.CREATE_ACCOUNT, "log in"),
        (caller("user"), Right.CREATE_ACCOUNT, "this needs 'admin'"),
        (caller("user", "mcp", "read"), Right.READ, "good for /mcp only"),
        (caller("user", "read", surface="mcp"), Right.MCP, "only API tokens with the scope 'mcp'"),
        (caller("user", "mcp", surface="mcp"), Right.READ, "scope 'read'"),
        (caller("user", "mcp", surface="mcp"), Right.LOGIN, "log in"),
    ):
        with pytest.raises(Forbidden, match=message):
            authorise(who, right)


def test_a_scope_that_would_have_no_effect_is_rejected() -> None:
    check_scopes(caller("user"), ["read", "run", "write"])
    check_scopes(caller("admin"), SCOPES)
    for role in ("user", "viewer"):
        with pytest.raises(Forbidden, match="admin"):
            check_scopes(caller(role), ["admin"])


OURS, SAFE = WorkspaceId("ours"), WorkspaceId("safe")
OWN = personal_workspace(AccountId("mara"))
JOINED: Final = (
    Membership(workspace_id=OURS, slug="ours", role="editor"),
    Membership(workspace_id=SAFE, slug="safe", role="viewer", requires_second_factor=True),
)
TOKEN, TOKEN_OF_SAFE = (ApiToken(TokenId("t"), frozenset({"read"}), of) for of in (None, SAFE))


@pytest.mark.parametrize(
    ("credential", "installation_requires", "lacking", "admitted_to"),
    [
        (Session(SessionId("s"), NOON), False, {SAFE}, (OWN, OURS)),
        (Session(SessionId("s"), NOON), True, {OWN, OURS, SAFE}, ()),
        (Session(SessionId("s"), NOON, "second_factor"), True, set(), (OWN, OURS, SAFE)),
        (Session(SessionId("s"), NOON, "provider"), True, set(), (OWN, OURS, SAFE)),
        # A token was made by an account that had shown what is required then.
        (TOKEN, True, set(), (OWN,)),
        (TOKEN_OF_SAFE, False, set(), (SAFE,)),
    ],
)
def test_a_password_alone_reaches_only_what_requires_no_second_factor(
    credential: Session | ApiToken,
    *,
    installation_requires: bool,
    lacking: set[WorkspaceId],
    admitted_to: tuple[WorkspaceId, ...],
) -> None:
    caller = Caller(
        account_id=AccountId("mara"),
        role="user",
        credential=credential,
        expires_at=NEVER,
        memberships=JOINED,
        requires_second_factor=installation_requires,
    )

    assert caller.admitted_to == admitted_to
    for where in caller.reach:
        acting = caller.acting_in(where)
        assert refused_for_the_factor(acting, Right.READ) == acting.lacks_second_factor == (where in lacking)
        assert not refused_for_the_factor(acting, Right.LOGIN)


def refused_for_the_factor(caller: Caller, right: Right) -> bool:
    try:
        authorise(caller, right)
    except Forbidden as error:
        return isinstance(error, SecondFactorMissing)
    return False
