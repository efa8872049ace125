"""Second factors of a login with a password: one-time codes, passkeys and recovery codes."""

import re
from datetime import timedelta
from typing import Final, Literal, TypeAlias

FactorType: TypeAlias = Literal["totp", "passkey"]

MAX_FACTORS: Final = 10
RECOVERY_CODES: Final = 10
# Wrong codes in a row without a wait, and the number after which no code is accepted any more: NIST SP 800-63B allows
# 100. Of a million codes three are right at a time, so that all these guesses find one in 0.03 % of all cases.
FREE_WRONG_CODES: Final = 5
MOST_WRONG_CODES: Final = 100
_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(hours=1)
# Until the count is reset: by a recovery code, by a passkey or by an admin.
_NO_END: Final = timedelta(days=36_500)

_SEPARATORS: Final = re.compile(r"[\s-]+")
_RECOVERY_CODE: Final = re.compile(r"[a-z2-7]{16}")
_TOTP: Final = re.compile(r"[0-9]{6}")


def wait_after(wrong_codes: int) -> timedelta:
    """Return the time for which no code of an account is checked after so many wrong ones in a row."""
    if wrong_codes >= MOST_WRONG_CODES:
        return _NO_END
    beyond = wrong_codes - FREE_WRONG_CODES
    # The exponent is capped because the factor grows without a bound.
    return timedelta(0) if beyond < 0 else min(_FIRST_WAIT * 2 ** min(beyond, 10), _LONGEST_WAIT)


def normal_totp(text: str) -> str | None:
    """Return the six digits of a one-time code, which people write in groups; None if it is none."""
    code = _SEPARATORS.sub("", text)
    return code if _TOTP.fullmatch(code) else None


def normal_recovery_code(text: str) -> str | None:
    """Return the 16 characters of a recovery code without its dashes; None if it is none."""
    code = _SEPARATORS.sub("", text).lower()
    return code if _RECOVERY_CODE.fullmatch(code) else None


def shown_recovery_code(code: str) -> str:
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))
