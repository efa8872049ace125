"""Creation of the first account, from the settings or with a printed token."""

import sys

from flowrunner.bootstrap.program import SETUP_TOKEN_FILE, Program
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.security.keys import explain_unwritable, write_private
from flowrunner.settings import InvalidSettings, Settings


async def first_admin(settings: Settings, program: Program, url: str) -> None:
    """Create the first admin from the settings, or print how to create it.

    Args:
        url: The address of this server.

    Raises:
        InvalidSettings: If they describe an invalid account.
    """
    accounts = program.services.accounts
    token_file = settings.data_dir / SETUP_TOKEN_FILE
    if await accounts.is_set_up():
        token_file.unlink(missing_ok=True)
        return
    if settings.admin_email is not None and settings.admin_password is not None:
        try:
            await accounts.create_first(
                name=settings.admin_email.partition("@")[0] or "admin",
                email=settings.admin_email,
                password=settings.admin_password,
            )
        except InvalidInput as error:
            raise InvalidSettings(f"FLOWRUNNER_ADMIN_EMAIL, FLOWRUNNER_ADMIN_PASSWORD: {error}") from None
        except Conflict:
            pass
        return
    token_file.unlink(missing_ok=True)
    token = program.setup.issue_token()
    # Browsers reach a server behind a proxy only by its public address.
    url = settings.public_url or url
    with explain_unwritable(token_file):
        write_private(token_file, token + "\n")
    print(
        f"There is no account yet. Create the first admin within 24 hours, in a browser:\n\n"
        # Browsers do not send what follows the #, so no log has the token.
        f"  {url}/setup#{token}\n\n"
        f"or by a request:\n\n"
        f'  curl {url}/api/v1/setup -H \'Content-Type: application/json\' -d \'{{"token": "{token}",\n'
        f'    "name": "Your Name", "email": "you@example.com", "password": "…"}}\'\n\n'
        f"The token is also in {token_file}.",
        file=sys.stderr,
        flush=True,
    )
